"""People found by pictures of real footage and by words, with real networks."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from serving_parts import running, serving, write_people
from test_live_run import BarDetector

from crosscam_deploy.runtime import open_runtime
from crosscam_deploy.text_tower import TextTower
from crosscam_edge.detect.select import choose_detector
from crosscam_edge.embed.model import ModelEmbedder
from crosscam_edge.embed.select import choose_embedder
from crosscam_edge.gallery import Reader
from crosscam_edge.gallery.alike import most_alike
from crosscam_edge.opening import Models
from crosscam_edge.server.site import Site
from crosscam_edge.server.tokens import Keyring

VIDEOS = Path(os.environ.get("CROSSCAM_ASSETS", "")) / "videos"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.skipif(
    not (VIDEOS / "vtest.avi").is_file(), reason="needs the footage of CROSSCAM_ASSETS"
)
def test_pictures_of_real_people_find_them(tmp_path, tokens, tokens_file):
    (tmp_path / "hall.mp4").symlink_to(VIDEOS / "one-by-one-person-detection.mp4")
    (tmp_path / "yard.mp4").symlink_to(VIDEOS / "vtest.avi")
    detector, _ = choose_detector("crosscam-detector", min_confidence=0.1)
    embedder, _ = choose_embedder("crosscam-reid")
    headers = {"Authorization": f"Bearer {tokens['operator']}"}
    with running(tmp_path, tmp_path, Models(detector, embedder, {}, 1)) as found:
        site = Site(found.run, found.gallery, found.path, found.hub)
        with (
            serving(site, Keyring(tokens_file)) as url,
            httpx.Client(base_url=url + "/api/v1", headers=headers, timeout=60) as api,
        ):

            def shown():
                found.gallery.writer.flush()
                people = api.get("/identities").json()["identities"]
                return [each for each in people if each["picture"]]

            found.until(lambda: len(shown()) > 3, seconds=120)
            person = shown()[-1]
            kept = api.get(f"/pictures/{person['picture']}").content
            answer = api.post("/search/picture", content=kept, params={"crop": True})
            first = answer.json()["matches"][0]
            assert first["global_id"] == person["global_id"]
            assert first["similarity"] > 0.6  # of the mean of all crops
            # Others may come in meanwhile: a scene is only asked for who is in it.
            capture = cv2.VideoCapture(str(VIDEOS / "vtest.avi"))
            _, frame = capture.read()
            capture.release()
            data = cv2.imencode(".jpg", frame)[1].tobytes()
            seen = api.post("/search/picture", content=data).json()["person"]
            assert seen["people"] > 2
            x1, y1, x2, y2 = seen["box"]
            assert 0 <= x1 < x2 <= frame.shape[1]
            assert 1.2 < (y2 - y1) / (x2 - x1) < 5
            crop = frame[round(y1) : round(y2), round(x1) : round(x2)]
            data = cv2.imencode(".png", crop)[1].tobytes()
            alone = api.post("/search/picture", content=data).json()["person"]
            assert alone["box"] == [0, 0, crop.shape[1], crop.shape[0]]
            nothing = cv2.imencode(".png", np.full((300, 400, 3), 90, np.uint8))[1].tobytes()
            assert api.post("/search/picture", content=nothing).json()["error"] == "nobody"
            # The run's own networks are none that a search uses.
            assert site.searches._eyes._detector.runtime is not detector.runtime
            assert site.searches._eyes._embedder.runtime is not embedder.runtime
        site.close()
    detector.close()
    embedder.close()


def test_words_find_people_where_the_model_knows_them(tmp_path, tokens, tokens_file):
    """Random weights: who is found is who the tower says, by your cameras alone."""
    pytest.importorskip("open_clip", reason="needs the extra 'train'")
    from crosscam_deploy.export.open_clip import export_open_clip

    bundle = export_open_clip("ViT-S-32-alt/random", tmp_path / "bundle")
    embedder = ModelEmbedder(open_runtime(bundle, runtime="onnxruntime", threads=1))
    write_people(tmp_path, hall=(120, 120, 255), yard=(255, 120, 120))
    with running(tmp_path, tmp_path, Models(BarDetector(), embedder, {}, 1)) as found:
        found.until(lambda: all(found.run.looked_at()[name] > 20 for name in ("hall", "yard")), 90)
        found.until(lambda: len(found.run.identities.online.people) > 0, 60)
        site = Site(found.run, found.gallery, found.path, found.hub)
        with serving(site, Keyring(tokens_file)) as url:

            def ask(holder):
                found.gallery.writer.flush()
                headers = {"Authorization": f"Bearer {tokens[holder]}"}
                body = {"text": "a person in a red coat"}
                answer = httpx.post(
                    url + "/api/v1/search/text", headers=headers, json=body, timeout=60
                )
                assert answer.status_code == 200, answer.text
                return answer.json()["matches"]

            everybody, scoped = ask("operator"), ask("hall")
            headers = {"Authorization": f"Bearer {tokens['viewer']}"}
            assert httpx.get(url + "/api/v1/me", headers=headers).json()["words"] is True
            reader = Reader(found.path)
            looks = TextTower(bundle).embed("a person in a red coat")
            expected = dict(most_alike(reader, looks, bundle.model_id, limit=100))
            reader.close()
        site.close()
    embedder.close()
    assert everybody
    for each in everybody:  # a track grows meanwhile
        assert each["similarity"] == pytest.approx(expected[each["global_id"]], abs=0.02)
    assert all(each["cameras"] == ["hall"] for each in scoped)
