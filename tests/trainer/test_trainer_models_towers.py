"""Image towers: which feature is what, gradients everywhere, precisions, grids, strides, SIE."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels.errors import InputError, ShapeError  # noqa: E402
from crosscam_trainer.models.architectures import architecture, make_clip  # noqa: E402
from crosscam_trainer.models.towers import adapt_tower  # noqa: E402

TINY = [("test-tiny", (64, 32)), ("test-tiny-vit", (32, 16))]
SMALL = [
    *TINY,
    ("crosscam-s", (64, 32)),
    ("crosscam-ibn", (64, 32)),
    ("PE-Core-T-16-384", (64, 32)),
]
LARGE = [("RN50", (256, 128)), ("ViT-B-16", (256, 128)), ("MobileCLIP2-S0", (256, 128))]


def tower_of(name, size, **options):
    torch.manual_seed(0)
    options.setdefault("stride", architecture(name).stride)
    return adapt_tower(make_clip(name).visual, size, **options)


def nudged(tower):
    """Residual branches that start at zero give no gradients to what is before them."""
    with torch.no_grad():
        for p in tower.parameters():
            if not p.any():
                p.normal_(0, 0.1)
    return tower


@pytest.mark.parametrize(
    ("name", "size"), [*SMALL, *(pytest.param(*x, marks=pytest.mark.slow) for x in LARGE)]
)
def test_features_have_the_promised_shapes_and_reach_every_parameter(name, size):
    tower = nudged(tower_of(name, size))
    found = tower(torch.randn(2, 3, *size))
    assert found.previous.shape == (2, tower.previous_dim)
    assert found.map.shape == (2, tower.final_dim, *tower.grid)
    assert found.final.shape == (2, tower.final_dim)
    assert found.joint.shape == (2, tower.joint_dim)
    sum(f.sin().sum() for f in found).backward()
    without = [n for n, p in tower.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@pytest.mark.parametrize(("name", "size"), SMALL)
def test_joint_is_what_open_clip_computes_at_its_own_size(name, size):
    torch.manual_seed(0)
    clip = make_clip(name).eval()
    side = clip.visual.image_size
    side = side if isinstance(side, int) else side[0]
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = clip.encode_image(images)
        tower = adapt_tower(clip.visual, (side, side), stride=None).eval()
        found = tower(images)
    torch.testing.assert_close(found.joint, expected)


@pytest.mark.parametrize(("name", "size"), SMALL)
def test_autocast_to_bfloat16_stays_close(name, size):
    tower = nudged(tower_of(name, size)).eval()
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        exact = tower(images)
        with torch.autocast("cpu", torch.bfloat16):
            found = tower(images)
    for a, b in zip(exact, found, strict=True):
        assert torch.cosine_similarity(a.flatten(1), b.float().flatten(1)).min() > 0.99


def test_final_is_the_mean_of_the_map_and_previous_of_the_layer_before():
    tower = tower_of("test-tiny", (64, 32)).eval()
    images = torch.randn(2, 3, 64, 32)
    v = tower.visual
    third = v.layer3(v.layer2(v.layer1(v.stem(images))))
    found = tower(images)
    torch.testing.assert_close(found.final, found.map.mean((2, 3)))
    torch.testing.assert_close(found.previous, third.mean((2, 3)))


def test_previous_of_a_transformer_is_the_class_token_before_the_last_block():
    tower = tower_of("test-tiny-vit", (32, 16)).eval()
    images = torch.randn(2, 3, 32, 16)
    seen = []
    tower.visual.transformer.resblocks[-1].register_forward_pre_hook(
        lambda _module, inputs: seen.append(inputs[0])
    )
    found = tower(images)
    torch.testing.assert_close(found.previous, seen[0][:, 0])
    torch.testing.assert_close(found.joint, found.final @ tower.visual.proj)


def test_cells_of_the_map_lie_where_the_picture_is_changed():
    tower = tower_of("test-tiny", (128, 64)).eval()
    images = torch.zeros(2, 3, 128, 64)
    images[1, :, 112:, :16] = 3.0  # lower left
    change = (lambda m: (m[1] - m[0]).abs().sum(0))(tower(images).map)
    assert change.argmax().item() == (tower.grid[0] - 1) * tower.grid[1]


def test_last_stage_keeps_the_resolution():
    assert tower_of("RN50", (256, 128)).grid == (16, 8)
    assert tower_of("test-tiny", (64, 32), stride=32).grid == (2, 1)
    assert tower_of("crosscam-s", (64, 32)).grid == (4, 2)
    assert tower_of("crosscam-s", (64, 32), stride=32).grid == (2, 1)


def test_overlapping_patches():
    tower = tower_of("test-tiny-vit", (32, 16), stride=6)
    assert tower.grid == (5, 2)
    assert tower(torch.randn(1, 3, 32, 16)).map.shape == (1, 32, 5, 2)


def test_camera_embeddings_are_added_and_unknown_cameras_get_their_mean():
    tower = tower_of("test-tiny-vit", (32, 16), cameras=3, camera_weight=2.0).eval()
    images = torch.randn(1, 3, 32, 16).expand(4, -1, -1, -1)
    first, second, unknown, beyond = tower(images, torch.tensor([0, 1, -1, 7])).final
    assert not torch.allclose(first, second)
    torch.testing.assert_close(unknown, beyond)
    torch.testing.assert_close(unknown, tower(images[:1]).final[0])
    with torch.no_grad():
        tower.cameras[:] = tower.cameras[:1].clone()
    torch.testing.assert_close(tower(images[:1]).final, tower(images[:1], torch.tensor([0])).final)


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("test-tiny", {"size": (60, 32)}, "multiples of 16"),
        ("test-tiny", {"size": (64, 32), "stride": 8}, "16 or 32"),
        ("test-tiny", {"size": (64, 32), "cameras": 2, "camera_weight": 1.0}, "vision transformer"),
        ("test-tiny-vit", {"size": (32, 16), "stride": 9}, "1 to 8"),
        ("crosscam-s", {"size": (64, 32), "stride": 8}, "16 or 32"),
    ],
)
def test_what_a_tower_cannot_do_is_refused(name, options, what):
    size = options.pop("size")
    with pytest.raises(InputError, match=what):
        tower_of(name, size, **options)


def test_other_picture_sizes_are_refused():
    with pytest.raises(ShapeError, match="64, 32"):
        tower_of("test-tiny", (64, 32))(torch.zeros(1, 3, 32, 64))


def test_unknown_and_unusable_architectures():
    with pytest.raises(InputError, match="not known"):
        architecture("RN51")
    with pytest.raises(InputError, match="text tower"):
        architecture("coca_ViT-B-32")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), TINY)
def test_compiled_towers_compute_the_same(name, size):
    tower = nudged(tower_of(name, size)).eval()
    images = torch.randn(2, 3, *size)
    compiled = torch.compile(tower, backend="aot_eager", fullgraph=True)
    for a, b in zip(tower(images), compiled(images), strict=True):
        torch.testing.assert_close(a, b)
