"""clip_reid, cal, ccaf and ccafl+ccaf: losses by plain formulas in float64, and training."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import method_runs as runs  # noqa: E402

from crosscam_kernels.errors import InputError  # noqa: E402
from crosscam_trainer.methods.cal import clothes_adversarial_loss  # noqa: E402
from crosscam_trainer.methods.ccafl_ccaf import (  # noqa: E402
    Outfits,
    find_outfits,
    outfit_groups,
)
from crosscam_trainer.methods.clip_reid import (  # noqa: E402
    SupervisedHeads,
    SupervisedOptions,
    supervised_losses,
)
from crosscam_trainer.methods.labels import train_labels, unit  # noqa: E402
from crosscam_trainer.methods.registry import METHODS, make_method  # noqa: E402
from crosscam_trainer.methods.shielding import (  # noqa: E402
    CFMOptions,
    ClothesExaminer,
    IFPOptions,
    Shielded,
    clothes_share,
    clothes_span,
    differences,
    examine_loss,
    image_to_image_loss,
    minimise_loss,
)
from crosscam_trainer.models.types import Features  # noqa: E402
from crosscam_trainer.recipe import BatchRecipe, DataRecipe, Recipe  # noqa: E402

torch.set_num_threads(1)
PERSON = torch.tensor([0, 0, 1, 1, 2, 2])
CLOTHES = torch.tensor([0, 1, 2, 3, 4, 4])
PERSON_OF = torch.tensor([0, 0, 1, 1, 2])
PROMPTS = {"epochs": 4, "batch": 48}


def _rows(*shape: int, seed: int = 0) -> Any:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def _check_gradient(found: Any, expected: Any, of: Any) -> None:
    torch.testing.assert_close(found, expected)
    (ours,) = torch.autograd.grad(found, of, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, of, retain_graph=True)
    torch.testing.assert_close(ours, theirs)
    assert ours.abs().sum() > 0


def _smoothed(logits: Any, target: int) -> Any:
    q = torch.full_like(logits, 0.1 / len(logits))
    q[target] += 0.9
    return -(q * torch.log_softmax(logits, 0)).sum()


def _hard_triplet(x: Any) -> Any:
    losses = []
    for i in range(6):
        far = [(x[i] - x[k]).norm() for k in range(6) if k != i and PERSON[k] == PERSON[i]]
        near = [(x[i] - x[k]).norm() for k in range(6) if PERSON[k] != PERSON[i]]
        losses.append((max(far) - min(near) + 0.3).clamp(min=0))
    return torch.stack(losses).mean()


def test_clip_reid_losses() -> None:
    x = [_rows(6, d, seed=s).requires_grad_() for s, d in enumerate((3, 5, 5, 4, 4))]
    features, texts = Features(*x), _rows(3, 4, seed=9)
    heads = SupervisedHeads(5, 4, 3)
    for head in (heads.final, heads.joint):
        torch.nn.init.normal_(head.weight)
    options = SupervisedOptions(id_weight=0.25, i2t_weight=2.0)
    total, parts = supervised_losses(features, heads, texts, PERSON, options)
    final = features.final_bn @ heads.final.weight.double().T
    joint = features.joint_bn @ heads.joint.weight.double().T
    each = range(6)
    identity = sum(
        torch.stack([_smoothed(logits[i], int(PERSON[i])) for i in each]).mean()
        for logits in (final, joint)
    )
    triplet = sum(_hard_triplet(f) for f in (features.previous, features.final, features.joint))
    i2t = torch.stack([_smoothed(texts @ features.joint[i], int(PERSON[i])) for i in each]).mean()
    torch.testing.assert_close(parts["id"].double(), identity, atol=1e-5, rtol=1e-5)
    _check_gradient(parts["triplet"], triplet, features.joint)
    _check_gradient(parts["i2tce"], i2t, features.joint)
    torch.testing.assert_close(
        total, 0.25 * parts["id"] + parts["triplet"] + 2.0 * parts["i2tce"], check_dtype=False
    )


def _plain_adversarial(f: Any, directions: Any, epsilon: float, groups: Any = PERSON_OF) -> Any:
    logits, losses = 16 * unit(f) @ unit(directions).T, []
    for i, worn in enumerate(CLOTHES.tolist()):
        if groups[worn] < 0:
            continue
        own = [o for o in range(5) if groups[o] == groups[worn]]
        against = torch.exp(logits[i, [o for o in range(5) if o not in own]]).sum()
        loss = torch.zeros((), dtype=torch.float64)
        for o in own:
            q = epsilon / len(own) + (1 - epsilon) * (o == worn)
            loss = loss - q * torch.log(
                torch.exp(logits[i, o]) / (torch.exp(logits[i, o]) + against)
            )
        losses.append(loss)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_clothes_adversarial_loss(epsilon: float) -> None:
    f, directions = _rows(6, 4).requires_grad_(), _rows(5, 4, seed=1).requires_grad_()
    found = clothes_adversarial_loss(
        f, directions, CLOTHES, PERSON_OF, epsilon=epsilon, temperature=1 / 16
    )
    _check_gradient(found, _plain_adversarial(f, directions, epsilon), f)
    assert torch.autograd.grad(found, directions, allow_unused=True) == (None,)


def test_image_to_image_loss() -> None:
    f, g = _rows(6, 4).requires_grad_(), _rows(6, 4, seed=1).requires_grad_()
    found = image_to_image_loss(f, g)
    expected = torch.stack([1 - f[i] @ g[i] / f[i].norm() / g[i].norm() for i in range(6)]).mean()
    _check_gradient(found, expected, f)
    assert torch.autograd.grad(found, g, allow_unused=True) == (None,)


def test_which_features_are_pulled_to_the_shielding_image() -> None:
    run = runs.PlainRun(runs.Pictures(people=3, cameras=2, outfits=2, shots=2))
    rows, index = run.extract("shielded"), torch.arange(5, 11)
    with torch.no_grad():
        features = run.model.eval()(run.pictures.images[index])
    losses = [
        image_to_image_loss(getattr(features, name), getattr(rows, name)[index])
        for name in ("joint", "final_bn")
    ]
    for options, expected in (
        (IFPOptions(), losses[0] + losses[1]),
        (IFPOptions(features="joint"), losses[0]),
    ):
        held, again = Shielded(options), Shielded(options)
        held.look(run)
        again.load_state_dict(held.state_dict(), torch.device("cpu"))
        torch.testing.assert_close(held.loss(features, index), expected)
        torch.testing.assert_close(again.loss(features, index), expected)
    never = Shielded(IFPOptions(i2i_weight=0))
    never.look(run)
    assert not never.rows


def test_the_examiner_reads_the_feature_that_is_asked_for() -> None:
    model = runs.PlainRun(runs.Pictures(people=2, cameras=2)).model
    found = ClothesExaminer.of(model, CFMOptions())
    assert found(torch.ones(3, model.final_dim)).shape == (3, model.joint_dim)
    joint = ClothesExaminer.of(model, CFMOptions(feature="joint"))
    torch.testing.assert_close(joint.weight.detach(), torch.eye(model.joint_dim))


ADVERSARIAL = CFMOptions(minimise="adversarial", epsilon=0.3)


def test_examine_teaches_the_examiner_and_minimise_the_encoder() -> None:
    joint, texts = _rows(6, 4).requires_grad_(), _rows(5, 4, seed=1)
    examiner = ClothesExaminer(4).double()
    with torch.no_grad():
        examiner.weight.add_(_rows(4, 4, seed=2))
    found = examine_loss(examiner, joint, CLOTHES, texts, 1 / 16)
    logits = 16 * unit(joint @ examiner.weight.T) @ unit(texts).T
    expected = -torch.stack([torch.log_softmax(logits[i], 0)[CLOTHES[i]] for i in range(6)]).mean()
    _check_gradient(found, expected, examiner.weight)
    assert torch.autograd.grad(found, joint, allow_unused=True) == (None,)

    groups = torch.tensor([0, 0, 1, 1, -1])  # who wears outfit 4 is left out
    minimised = minimise_loss(examiner, joint, CLOTHES, texts, groups, ADVERSARIAL)
    plain = _plain_adversarial(joint @ examiner.weight.T, texts, 0.3, groups)
    _check_gradient(minimised, plain, joint)
    assert torch.autograd.grad(minimised, examiner.weight, allow_unused=True) == (None,)


def test_uniform_minimisation_is_zero_when_no_outfit_is_likelier_than_another() -> None:
    texts = differences(torch.eye(5, dtype=torch.float64) + 7)
    torch.testing.assert_close(texts.sum(0), torch.zeros(5).double())
    examiner = ClothesExaminer(5).double()
    nothing_to_read = torch.ones(6, 5, dtype=torch.float64)
    options = CFMOptions()
    found = minimise_loss(examiner, nothing_to_read, CLOTHES, texts, PERSON_OF, options)
    torch.testing.assert_close(found, torch.tensor(0.0).double(), check_dtype=False)
    joint = _rows(6, 5).requires_grad_()
    logits = 16 * unit(joint) @ unit(texts).T
    expected = -torch.stack([torch.log_softmax(row, 0).mean() for row in logits]).mean()
    expected = expected - torch.log(torch.tensor(5.0).double())
    found = minimise_loss(examiner, joint, CLOTHES, texts, PERSON_OF, options)
    assert found.item() > 0
    _check_gradient(found, expected, joint)
    assert torch.autograd.grad(found, examiner.weight, allow_unused=True) == (None,)


def test_orthogonal_minimisation_is_zero_beside_the_span_only() -> None:
    texts = torch.cat([_rows(5, 2, seed=1), torch.zeros(5, 3, dtype=torch.float64)], 1)
    basis = clothes_span(texts, 16)
    assert basis.shape == (5, 2)
    beside = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(clothes_share(beside[2:], basis), torch.tensor(0.0).double())
    torch.testing.assert_close(clothes_share(beside[:2], basis), torch.tensor(1.0).double())
    options = CFMOptions(minimise="orthogonal", span=1)
    joint = _rows(6, 5).requires_grad_()
    direction = clothes_span(texts, 1)[:, 0]
    expected = torch.stack([(x @ direction / x.norm()) ** 2 for x in joint]).mean()
    examiner = ClothesExaminer(5).double()
    _check_gradient(
        minimise_loss(examiner, joint, CLOTHES, texts, PERSON_OF, options), expected, joint
    )


def test_outfits_without_anyone_labelling_them() -> None:
    dressed = train_labels(runs.Pictures(outfits=2, intra=True).data, "cpu")
    for kind, number in (("auto", 36), ("clothes", 36), ("tracklets", 36), ("labels", 18)):
        found = find_outfits(dressed, kind)
        assert len(found.person) == number
        assert torch.equal(found.person[found.of_picture], dressed.person)
    plain = train_labels(runs.Pictures(intra=True).data, "cpu")
    assert torch.equal(find_outfits(plain).of_picture, find_outfits(plain, "tracklets").of_picture)


def test_outfit_groups_follow_association() -> None:
    """Labels 0 and 2 are one; 1 is alone with two outfits, 3 alone with one."""
    outfits = Outfits(torch.arange(5), torch.tensor([0, 1, 1, 2, 3]))
    found = outfit_groups(torch.tensor([0, -1, 0, -1]), outfits).tolist()
    assert found == [0, 5, 5, 0, -1]


def _recipe(name: str, **options: Any) -> Recipe:
    return Recipe(
        name="small",
        data=DataRecipe(path="nowhere"),
        batch=BatchRecipe(people=6, pictures=4),
        method={"name": name, **options},
    )


SHORT: dict[str, dict[str, Any]] = {
    "captions": {"epochs": 8, "joint_id_weight": 1.0},
    "clip_reid": {"epochs": 8, "prompts": PROMPTS},
    "cal": {"epochs": 12, "clothes_start": 3, "adversarial_start": 5},
    "ccaf": {"epochs": 8, "prompts": PROMPTS, "cfm": {"start": 3}},
    "ccafl": {"epochs": 12, "prompts": PROMPTS, "ical": {"adv_window": [8, None]}},
    "ccafl+ccaf": {
        "epochs": 12,
        "prompts": PROMPTS,
        "ical": {"adv_window": [8, None]},
        "cfm": {"start": 8},
    },
}


def _pictures(name: str) -> runs.Pictures:
    return runs.Pictures(people=6, cameras=2, outfits=2, cast=0.3, intra=name.startswith("ccafl"))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_training_lowers_the_loss_and_improves_retrieval(name: str) -> None:
    run = runs.PlainRun(_pictures(name))
    start, _ = run.figures()
    history = run.train(make_method(_recipe(name, **SHORT[name])))
    end, _ = run.figures()
    assert end > start + 0.05, (start, end)
    losses = list(history.values())[-1]
    falls = "id" if "id" in losses[0] else "gid"
    assert losses[-1][falls] < losses[0][falls]
    starts = {"ca": 5, "cfm": 3 if name == "ccaf" else 8, "clothes": 3, "ical": 8}
    for part, epoch in starts.items():
        having = [e for e, found in enumerate(losses) if part in found]
        assert not having or having == list(range(epoch, len(losses)))
    if name in ("ccaf", "ccafl+ccaf"):
        assert {"cfm", "examine"} <= losses[-1].keys()


def test_shielding_images_become_equal_to_pictures() -> None:
    """What I2I is for: with it, covering the clothes changes the feature less than without."""
    left = []
    for weight in (0.0, 10.0):
        run = runs.PlainRun(_pictures("ccaf"))
        options = SHORT["ccaf"] | {"ifp": {"i2i_weight": weight}}
        history = run.train(make_method(_recipe("ccaf", **options)))
        assert ("i2i" in history["cloth-agnostic"][-1]) == (weight > 0)
        whole, shielded = (run.extract(kind).joint for kind in ("image", "shielded"))
        left.append(float(image_to_image_loss(whole, shielded)))
    assert left[1] < 0.5 * left[0]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_stage_continues_from_its_state(name: str) -> None:
    """In the middle of an epoch with every loss switched on: the same next step, to the bit."""

    def begun() -> tuple[runs.PlainRun, Any]:
        run = runs.PlainRun(_pictures(name))
        return run, make_method(_recipe(name, **SHORT[name])).stages(run)[-1]

    run, stage = begun()
    batches = list(stage.sampler(rank=0, world_size=1))
    stage.begin(run)
    run.prepare(stage)
    stage.begin_epoch(run, 9)
    run.model.train()
    stage.step(run, run.batch(stage, batches[0]), 9)
    kept = deepcopy(
        (
            run.model.state_dict(),
            [m.state_dict() for _, m in stage.modules()],
            stage.state_dict(),
            [o.state_dict() for o in run.optimisers.values()],
        )
    )
    other_run, other = begun()
    other_run.model.load_state_dict(kept[0])
    for (_, module), state in zip(other.modules(), kept[1], strict=True):
        module.load_state_dict(state)
    other.load_state_dict(kept[2])
    other_run.prepare(other)
    for optimiser, state in zip(other_run.optimisers.values(), kept[3], strict=True):
        optimiser.load_state_dict(state)
    other_run.model.train()
    expected = stage.step(run, run.batch(stage, batches[1]), 9)
    found = other.step(other_run, other_run.batch(other, batches[1]), 9)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[part], expected[part]) for part in expected)
    theirs, ours = (r.model.state_dict() for r in (run, other_run))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    theirs, ours = stage.state_dict(), other.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_prompt_stage_continues_from_its_state() -> None:
    runs_of = [runs.PlainRun(runs.Pictures()) for _ in range(2)]
    stages = [make_method(_recipe("clip_reid")).stages(run)[0] for run in runs_of]
    (run, other_run), (stage, other) = runs_of, stages
    stage.begin(run)
    run.prepare(stage)
    stage.step(run, run.batch(stage, [0, 1, 20, 40]), 0)
    (_, prompts), (_, others) = (*stage.modules(), *other.modules())
    others.load_state_dict(deepcopy(prompts.state_dict()))
    assert not stage.state_dict()
    other.resume(other_run)
    other_run.prepare(other)
    other_run.optimisers["prompts"].load_state_dict(
        deepcopy(run.optimisers["prompts"].state_dict())
    )
    for r, s in ((run, stage), (other_run, other)):
        s.step(r, r.batch(s, [3, 9, 21, 44]), 0)
    assert torch.equal(prompts.learned, others.learned)  # type: ignore[arg-type]


def test_check_names_what_is_missing(capsys: Any) -> None:
    plain = runs.Pictures().data
    with pytest.raises(InputError, match="no clothes label"):
        make_method(_recipe("cal")).check(plain)
    unmasked = runs.Pictures(outfits=2, intra=True).data.mapped(
        lambda _, sample: type(sample)(sample.path, sample.person, sample.camera, sample.clothes)
    )
    for name in ("ccaf", "ccafl+ccaf"):
        with pytest.raises(InputError, match=r"data\.masks"):
            make_method(_recipe(name)).check(unmasked)
    with pytest.raises(InputError, match="no clothes label"):  # before anyone makes masks in vain
        make_method(_recipe("ccaf")).check(plain)
    with pytest.raises(InputError, match=r"data\.labels=intra"):
        make_method(_recipe("ccafl+ccaf")).check(plain)
    make_method(_recipe("clip_reid")).check(plain)
    assert "pushed apart" not in capsys.readouterr().err
    make_method(_recipe("clip_reid")).check(runs.Pictures(intra=True).data)
    assert "pushed apart" in capsys.readouterr().err


def test_everybody_in_one_outfit_teaches_nothing_about_clothes() -> None:
    data = runs.Pictures(outfits=2).data
    same = data.mapped(lambda _, s: type(s)(s.path, s.person, s.camera, 2 * s.person, mask=s.mask))
    with pytest.raises(InputError, match="wears one outfit"):
        make_method(_recipe("cal")).check(same)


def test_unknown_methods_and_options_are_named() -> None:
    with pytest.raises(InputError, match=r"ccafl\+ccaf"):
        make_method(_recipe("ccafl2"))
    with pytest.raises(InputError, match=r"method\.intra\.lambda"):
        make_method(_recipe("ccafl", intra={"lambda": 0.5}))
