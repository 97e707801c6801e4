"""Models and tokenizers that settings declare: what the checker cannot know of a project's own code."""

import pytest
from decoderonly_checker.config import Settings
from decoderonly_checker.runner import check_paths

LOADING = """\
import engine

def load_lm(name):
    return engine.load(name)

def load_bpe(name):
    return engine.bpe(name)

class Tiny:
    @classmethod
    def from_file(cls, path):
        return cls()

    def generate(self, *args, **kwargs):
        return engine.run(self, *args, **kwargs)
"""
USE = """\
from app.loading import Tiny, load_bpe, load_lm

def answer(prompts):
    bpe = load_bpe("x")
    lm = {made}
    encoding = bpe(prompts, return_tensors="pt", padding=True)
    return bpe.batch_decode(lm.generate(**encoding, max_new_tokens=3))

print(answer(["a", "b c"]))
"""
BPE = {"app.loading.load_bpe": {"padding-side": "right"}}


def found(folder, use=USE, made='load_lm("x")', **settings):
    (folder / "app").mkdir(exist_ok=True)
    (folder / "app" / "__init__.py").touch()
    (folder / "app" / "loading.py").write_text(LOADING, encoding="utf-8")
    (folder / "use.py").write_text(use.format(made=made), encoding="utf-8")
    result = check_paths([folder], Settings(root=folder, **settings))
    assert not result.errors
    return [diagnostic.code for diagnostic in result.diagnostics]


def test_without_settings_nothing_is_known(tmp_path):
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("app.loading.load_lm", 'load_lm("x")'),
        ("loading.load_lm", 'load_lm("x")'),
        ("load_lm", 'load_lm("x")'),
        ("app.loading.Tiny", "Tiny()"),
        ("app.loading.Tiny", 'Tiny.from_pretrained("x")'),
        ("app.loading.Tiny.from_file", 'Tiny.from_file("x")'),
        ("engine.load", 'load_lm("x")'),
    ],
)
def test_declared_models_are_known(tmp_path, name, made):
    assert found(tmp_path, made=made, known_models={name: "decoder-only"}, known_tokenizers=BPE) == [
        "DLM201",
        "DLM102",
    ]


@pytest.mark.parametrize("name", ["other.load_lm", "app.load_lm", "lm", "Tiny.load_lm"])
def test_other_names_are_not(tmp_path, name):
    assert found(tmp_path, known_models={name: "decoder-only"}, known_tokenizers=BPE) == []


def test_an_encoder_decoder_is_left_alone(tmp_path):
    assert found(tmp_path, known_models={"load_lm": "encoder-decoder"}, known_tokenizers=BPE) == []


def test_a_tokenizer_is_set_up_as_declared(tmp_path):
    models = {"load_lm": "decoder-only"}
    left = {"load_bpe": {"padding-side": "left"}}
    assert found(tmp_path, known_models=models, known_tokenizers=left) == ["DLM201"]
    assert found(tmp_path, known_models=models, known_tokenizers={"load_bpe": {}}) == ["DLM201"]


def test_an_annotation_names_it(tmp_path):
    use = """\
from app.loading import Tiny, load_bpe

def answer(lm: Tiny, prompts: list[str]):
    bpe = load_bpe("x")
    encoding = bpe(prompts, return_tensors="pt", padding=True)
    print(bpe.batch_decode(lm.generate(**encoding, max_new_tokens=3)))
"""
    assert "DLM102" in found(tmp_path, use, known_models={"Tiny": "decoder-only"}, known_tokenizers=BPE)


def test_only_what_is_declared_and_remembered_counts(tmp_path):
    """A run with other settings is another run, also for a cache."""
    from decoderonly_checker.cache import Cache

    (tmp_path / "use.py").write_text(
        "import app\nlm, bpe = app.load_lm(), app.load_bpe()\n"
        "print(bpe.batch_decode(lm.generate(**bpe(['a', 'b c'], padding=True))))\n",
        encoding="utf-8",
    )
    seen = []
    for models in ({}, {"load_lm": "decoder-only"}, {}):
        with Cache.open(tmp_path / "cache") as cache:
            settings = Settings(
                root=tmp_path, known_models=models, known_tokenizers={"load_bpe": {}} if models else {}
            )
            seen.append(
                [d.code for d in check_paths([tmp_path / "use.py"], settings, cache=cache).diagnostics]
            )
    assert seen == [[], ["DLM201"], []]
