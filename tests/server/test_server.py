"""`decoderonly server`, as a process that a client of the protocol talks to."""

import json
import subprocess
import sys
import threading

import pytest
from decoderonly_checker.flow.clock import Stopped
from decoderonly_checker.server.checks import Checks
from decoderonly_checker.server.documents import Document, Opened, Text, path_of
from decoderonly_checker.source.scan import split_lines
from editor import Editor, covered
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

SERVING = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
model = AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")


def answer(questions: list[str]) -> list[str]:
    encoding = tokenizer(questions, padding=True, return_tensors="pt")
    output = model.generate(encoding["input_ids"], max_new_tokens=32)
    return tokenizer.batch_decode(output, skip_special_tokens=True)
"""
CODES = ["DLM101", "DLM102", "DLM201"]
LOADING = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
tokenizer = AutoTokenizer.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
"""
CALLING = """\
from loading import model, tokenizer


def answer(questions: list[str]):
    return model.generate(**tokenizer(questions, padding=True, return_tensors="pt"), max_new_tokens=32)
"""
ANYWHERE = types.Range(types.Position(0, 0), types.Position(10_000, 0))


def codes(diagnostics):
    return sorted(str(one.code) for one in diagnostics)


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").write_text("[tool.decoderonly]\n")
    editor = Editor(folder)
    yield editor
    assert editor.quit() == 0
    assert editor.stderr == []
    assert [text for text in editor.messages if "decoderonly.toml" not in text] == []


@pytest.fixture(autouse=True)
def _clean(request):
    yield
    if "editor" in request.fixturenames:
        editor = request.getfixturevalue("editor")
        for uri in list(editor.texts):
            name = uri.rpartition("/")[2]
            if uri in editor.told:
                editor.close(name)
            del editor.texts[uri]
            (editor.folder / name).unlink(missing_ok=True)


def test_findings_come_when_a_file_is_opened_and_go_with_what_they_are_about(editor):
    found = editor.open("serve.py", SERVING)
    assert codes(found) == CODES
    first = min(found, key=lambda one: str(one.code))
    assert first.severity == types.DiagnosticSeverity.Error
    assert first.source == "decoderonly"
    assert first.code_description is None
    assert first.tags is None
    assert covered(SERVING, first.range) == 'model.generate(encoding["input_ids"], max_new_tokens=32)'
    assert (
        first.message.splitlines()[0] == "`generate` gets token ids of a padded batch and no `attention_mask`"
    )
    assert [one.location.uri for one in first.related_information] == [editor.uri("serve.py")] * 3
    made = first.related_information[1]
    assert (
        covered(SERVING, made.location.range)
        == 'AutoTokenizer.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")'
    )

    # Nothing was written to disk: what counts is what the editor shows.
    editor.type("serve.py", 8, 28, 8, 49, "**encoding")
    assert codes(editor.findings("serve.py")) == ["DLM102", "DLM201"]
    assert not (editor.folder / "serve.py").exists()
    assert editor.close("serve.py") == []


def test_files_that_are_no_python_and_paths_that_are_none_are_left_alone(editor):
    for uri, language in (("git:/serve.py?HEAD", "python"), (editor.uri("notes.txt"), "plaintext")):
        item = types.TextDocumentItem(uri, language, 1, SERVING)
        editor.notify("text_document_did_open", types.DidOpenTextDocumentParams(item))
    item = types.TextDocumentItem("untitled:Untitled-1", "python", 1, SERVING)
    editor.notify("text_document_did_open", types.DidOpenTextDocumentParams(item))
    editor.wait_for(lambda: "untitled:Untitled-1" in editor.told)
    assert codes(editor.told.pop("untitled:Untitled-1")[-1].diagnostics) == CODES
    assert editor.told == {}


def test_columns_are_counted_in_utf_16(editor):
    text = SERVING.replace("    return tok", '    "🙂🙂 é"; return tok').replace("\n", "\r\n")
    found = editor.open("smile.py", text)
    (echo,) = (one for one in found if one.code == "DLM201")
    assert covered(text, echo.range) == "tokenizer.batch_decode(output, skip_special_tokens=True)"
    assert echo.range.start.character == 4 + len('"🙂🙂 é"; return ') + 2
    # An edit behind the smiles, and one that takes half of the line.
    editor.type("smile.py", 9, echo.range.start.character, 9, echo.range.start.character, "list(")
    editor.type("smile.py", 9, echo.range.end.character + 5, 9, echo.range.end.character + 5, ")")
    (echo,) = (one for one in editor.findings("smile.py") if one.code == "DLM201")
    assert covered(editor.texts[editor.uri("smile.py")], echo.range).startswith("tokenizer.batch_decode(")


def test_hover_shows_the_page_that_the_command_prints(editor):
    found = editor.open("serve.py", SERVING)
    (echo,) = (one for one in found if one.code == "DLM201")
    command = [sys.executable, "-m", "decoderonly_checker", "rule", "DLM201"]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = editor.hover("serve.py", echo.range.start)
    assert shown.contents.kind == types.MarkupKind.Markdown
    assert shown.contents.value + "\n" == page
    assert shown.range == echo.range
    both = editor.hover("serve.py", types.Position(8, 20)).contents.value
    assert "(DLM101)" in both
    assert "(DLM102)" in both
    assert editor.hover("serve.py", types.Position(0, 0)) is None


def test_quick_fixes_cure_their_finding_and_no_other(editor):
    editor.open("serve.py", SERVING)
    actions = editor.actions("serve.py", ANYWHERE, [types.CodeActionKind.QuickFix])
    titles = [one.title for one in actions]
    assert len(titles) == 6
    fixes = {code: next(one for one in actions if one.title.startswith(f"{code}: ")) for code in CODES}
    assert [fixes[code].is_preferred for code in CODES] == [True, None, True]
    assert [("unsafe" in fixes[code].title) for code in CODES] == [False, True, False]
    for code, action in fixes.items():
        assert codes(action.diagnostics) == [code]
        editor.write("serve.py", editor.after(action, "serve.py"))
        assert codes(editor.findings("serve.py")) == sorted({*CODES} - {code})
        editor.write("serve.py", SERVING)
        editor.findings("serve.py")
        actions = editor.actions("serve.py", ANYWHERE)  # of this version
        fixes |= {one: next(a for a in actions if a.title.startswith(f"{one}: ")) for one in CODES}


def test_a_comment_silences_one_finding(editor):
    text = SERVING.replace("max_new_tokens=32)", "max_new_tokens=32)  # short", 1)
    editor.open("serve.py", text)
    silence = [one for one in editor.actions("serve.py", ANYWHERE) if "silence" in one.title]
    assert len(silence) == 3
    after = editor.after(silence[0], "serve.py")
    assert "max_new_tokens=32)  # short  # decoderonly: ignore[DLM101]\n" in after
    editor.write("serve.py", after)
    assert codes(editor.findings("serve.py")) == ["DLM102", "DLM201"]
    # A further code goes into the comment that is there.
    silence = [one for one in editor.actions("serve.py", ANYWHERE) if "DLM102: silence" in one.title]
    after = editor.after(silence[0], "serve.py")
    assert "# short  # decoderonly: ignore[DLM101, DLM102]\n" in after
    editor.write("serve.py", after)
    assert codes(editor.findings("serve.py")) == ["DLM201"]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_fix_all_does_what_the_command_does(editor, tmp_path, ending):
    text = SERVING.replace("\n", ending)
    editor.open("serve.py", text)
    (action,) = editor.actions("serve.py", ANYWHERE, ["source.fixAll"])
    assert action.kind == "source.fixAll.decoderonly"
    assert editor.actions("serve.py", ANYWHERE, ["source.fixAll.ruff", "refactor"]) == []
    other = tmp_path / "serve.py"
    other.write_bytes(text.encode())
    command = [sys.executable, "-m", "decoderonly_checker", "check", "--fix", "--no-cache", str(other)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    assert editor.after(action, "serve.py").encode() == other.read_bytes()


def test_what_stands_in_another_open_file_counts_before_it_is_saved(editor):
    (editor.folder / "loading.py").write_text(LOADING)
    (found,) = editor.open("calling.py", CALLING)
    assert found.code == "DLM102"
    assert editor.uri("loading.py") in [one.location.uri for one in found.related_information]
    # The fix is one of the other file, which is not open.
    (fix,) = (one for one in editor.actions("calling.py", ANYWHERE) if "unsafe" in one.title)
    corrected = editor.after(fix, "loading.py")
    assert 'from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct", padding_side="left")' in corrected

    editor.open("loading.py", LOADING)
    editor.write("loading.py", corrected)
    editor.findings("loading.py")
    before = editor.lists("calling.py")
    editor.save("calling.py")
    assert editor.findings("calling.py", after=before) == []
    # The other way round: a saved file changes what is said of the others that are open.
    before = editor.lists("calling.py")
    editor.write("loading.py", LOADING)
    editor.save("loading.py")
    assert codes(editor.findings("calling.py", after=before)) == ["DLM102"]


def test_only_the_last_of_many_edits_is_answered(editor):
    editor.open("serve.py", SERVING)
    before = editor.lists("serve.py")
    for number in range(30):
        editor.type("serve.py", 0, 0, 0, 0, f"# {number}\n")
    assert codes(editor.findings("serve.py")) == CODES
    told = editor.told[editor.uri("serve.py")][before:]
    assert 1 <= len(told) <= 3
    versions = [one.version for one in told]
    assert versions == sorted(set(versions))
    assert {one.range.start.line for one in told[-1].diagnostics} == {38, 39}


def test_actions_are_those_of_the_text_as_it_is_now(editor):
    editor.open("serve.py", SERVING)
    editor.type("serve.py", 0, 0, 0, 0, "# one line more\n")
    (action,) = editor.actions("serve.py", ANYWHERE, ["source.fixAll"])  # before any findings of that version
    after = editor.after(action, "serve.py")
    assert (
        'generate(encoding["input_ids"], max_new_tokens=32, attention_mask=encoding["attention_mask"])'
        in after
    )


def test_what_does_not_parse_is_said_and_may_be_mended(editor):
    editor.open("serve.py", SERVING)
    editor.type("serve.py", 9, 0, 9, 0, "def (:\n")
    (said,) = editor.findings("serve.py")
    assert said.severity == types.DiagnosticSeverity.Information
    assert said.message.startswith("not checked: ")
    assert said.range.start.line == 9
    assert editor.actions("serve.py", ANYWHERE) == []
    editor.write("serve.py", SERVING)
    assert codes(editor.findings("serve.py")) == CODES


def test_settings_count_and_may_be_wrong_for_a_time(editor):
    editor.wait_for(lambda: types.WORKSPACE_DID_CHANGE_WATCHED_FILES in editor.registered)
    settings = editor.folder / "decoderonly.toml"
    changed = types.DidChangeWatchedFilesParams(
        [types.FileEvent(settings.as_uri(), types.FileChangeType.Changed)]
    )

    def found_under(text):
        settings.write_text(text)
        before = editor.lists("serve.py")
        editor.notify("workspace_did_change_watched_files", changed)
        return codes(editor.findings("serve.py", after=before))

    try:
        editor.open("serve.py", SERVING)
        assert found_under('ignore = ["DLM102"]') == ["DLM101", "DLM201"]
        assert found_under("ignore = 1") == []
        editor.wait_for(lambda: editor.messages)
        assert editor.messages == [
            "decoderonly: decoderonly.toml: ignore must be a list of strings, not an integer"
        ]
        assert found_under('exclude = ["serve.py"]') == []
        assert found_under("") == CODES
    finally:
        settings.unlink()
        editor.notify("workspace_did_change_watched_files", changed)


def test_notebooks_are_checked_cell_by_cell(editor):
    parts = ["# A study", *SERVING.split("\n\n\n"), "%matplotlib inline\nanswer(['🙂', 'Hi'])"]
    kinds = [types.NotebookCellKind.Markup, *[types.NotebookCellKind.Code] * 3]
    uris = [f"vscode-notebook-cell:/study.ipynb#{number}" for number in range(4)]
    notebook = types.NotebookDocument(
        editor.uri("study.ipynb"),
        "jupyter-notebook",
        1,
        [types.NotebookCell(kind, uri) for kind, uri in zip(kinds, uris, strict=True)],
    )
    items = [
        types.TextDocumentItem(uri, "python", 1, text) for uri, text in zip(uris[1:], parts[1:], strict=True)
    ]
    editor.notify("notebook_document_did_open", types.DidOpenNotebookDocumentParams(notebook, items))
    editor.wait_for(lambda: uris[2] in editor.told)
    (told,) = editor.told.pop(uris[2])
    assert codes(told.diagnostics) == CODES
    first = min(told.diagnostics, key=lambda one: str(one.code))
    assert covered(parts[2], first.range) == 'model.generate(encoding["input_ids"], max_new_tokens=32)'
    assert [one.location.uri for one in first.related_information] == [uris[1], uris[1], uris[2]]
    assert not editor.told[uris[1]][-1].diagnostics

    # Silence it in the cell, then make the tokenizer pad on the left in the other one.
    params = types.CodeActionParams(
        types.TextDocumentIdentifier(uris[2]), ANYWHERE, types.CodeActionContext([])
    )
    actions = editor.call(editor.client.text_document_code_action_async(params))
    # A fix is one of the cell that it changes; all fixes of a cell are those of this cell.
    (cut,) = (one for one in actions if one.title.startswith("DLM201: ") and "silence" not in one.title)
    assert cut.edit.document_changes[0].text_document.uri == uris[2]
    assert covered(parts[2], cut.edit.document_changes[0].edits[0].range) == ""
    (every,) = (one for one in actions if one.kind == "source.fixAll.decoderonly")
    assert {one.text_document.uri for one in every.edit.document_changes} == {uris[2]}
    (change,) = next(one for one in actions if one.title.startswith("DLM201: silence")).edit.document_changes
    assert change.text_document.uri == uris[2]
    (edit,) = change.edits

    def change_cells(**cells):
        editor.notify(
            "notebook_document_did_change",
            types.DidChangeNotebookDocumentParams(
                types.VersionedNotebookDocumentIdentifier(2, notebook.uri),
                types.NotebookDocumentChangeEvent(cells=types.NotebookDocumentCellChanges(**cells)),
            ),
        )
        editor.wait_for(lambda: uris[2] in editor.told)
        return codes(editor.told.pop(uris[2])[-1].diagnostics)

    def text(uri, span, new):
        named = types.VersionedTextDocumentIdentifier(uri=uri, version=2)
        changes = [types.TextDocumentContentChangePartial(range=span, text=new)]
        return types.NotebookDocumentCellContentChanges(named, changes)

    assert change_cells(text_content=[text(uris[2], edit.range, edit.new_text)]) == ["DLM101", "DLM102"]
    at = types.Position(
        2, len('tokenizer = AutoTokenizer.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct"')
    )
    left = text(uris[1], types.Range(at, at), ', padding_side="left"')
    assert change_cells(text_content=[left]) == ["DLM101"]
    gone = types.NotebookCellArrayChange(start=2, delete_count=1, cells=[])
    structure = types.NotebookDocumentCellChangeStructure(
        gone, did_close=[types.TextDocumentIdentifier(uris[2])]
    )
    assert change_cells(structure=structure) == []

    closing = types.DidCloseNotebookDocumentParams(
        types.NotebookDocumentIdentifier(notebook.uri), [types.TextDocumentIdentifier(uri) for uri in uris]
    )
    editor.notify("notebook_document_did_close", closing)
    editor.told.clear()


def test_a_notebook_shown_as_text_has_its_findings_at_its_top(editor):
    cells = [
        {"cell_type": "code", "metadata": {}, "source": part, "outputs": []}
        for part in SERVING.split("\n\n\n")
    ]
    found = editor.open(
        "raw.ipynb", json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    assert codes(found) == CODES
    assert {one.range.start.line for one in found} == {0}
    assert all(one.message.startswith("cell 2, line ") for one in found)
    assert editor.actions("raw.ipynb", ANYWHERE) == []


PLANTED = """\
import decoderonly_checker.runner as runner
from decoderonly_checker.__main__ import main
plan = runner.begin_plan
def broken(asked, project, root, contents, scan):
    if any(b"PLANTED" in contents.read(path) for path in asked):
        raise RuntimeError("on purpose")
    return plan(asked, project, root, contents, scan)
runner.begin_plan = broken
main()
"""


# An editor that counts bytes of UTF-8, and takes neither related places nor edits of versions, nor watches files.
COUNTING_BYTES = types.ClientCapabilities(
    general=types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind.Utf8])
)


def test_a_fault_of_its_own_does_not_end_the_server(tmp_path):
    editor = Editor(tmp_path, "-c", PLANTED, "server", capabilities=COUNTING_BYTES)
    assert editor.capabilities.position_encoding == types.PositionEncodingKind.Utf8
    found = editor.open("serve.py", SERVING.replace("    return tok", '    "é🙂"; return tok'))
    assert codes(found) == CODES
    (echo,) = (one for one in found if one.code == "DLM201")
    assert echo.range.start.character == len('    "é🙂"; return '.encode())
    editor.write("serve.py", SERVING + "# PLANTED\n")
    assert editor.findings("serve.py") == []
    editor.wait_for(lambda: editor.messages)
    (said,) = editor.messages
    assert "internal error: RuntimeError" in said
    assert "on purpose" in said
    assert editor.actions("serve.py", ANYWHERE) == []
    editor.write("serve.py", SERVING)
    found = editor.findings("serve.py")
    assert codes(found) == CODES
    assert [one.related_information for one in found] == [None] * 3
    assert editor.registered == []
    (every,) = editor.actions("serve.py", ANYWHERE, ["source.fixAll.decoderonly"])
    assert list(every.edit.changes) == [editor.uri("serve.py")]
    assert any("RuntimeError: on purpose" in line for line in editor.stderr)
    assert editor.quit(politely=False) == 1


def test_without_pygls_one_line_says_what_to_install():
    code = "import sys; sys.modules['pygls'] = None; from decoderonly_checker.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "server"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == 'error: server needs pygls: pip install "pytest-decoderonly[server]"\n'


def test_a_check_that_nobody_waits_for_ends(tmp_path):
    checks = Checks()
    file = Opened((tmp_path / "a.py").as_uri(), tmp_path / "a.py")
    file.documents[file.uri] = Document(file.uri, Text(SERVING), 1)
    stop = threading.Event()
    unsaved = {str(file.path): file.data()}
    (done,) = checks.check([file], unsaved, stop.is_set)
    assert len(done.result.diagnostics) == 3
    stop.set()
    with pytest.raises(Stopped):
        checks.check([file], unsaved, stop.is_set)


LINES = st.lists(
    st.sampled_from(["a", " ", "é", "🙂", "\t", "\x0c", "\u2028", "\n", "\r", "\r\n"]), max_size=20
).map("".join)


@given(LINES, st.sampled_from(["utf-8", "utf-16", "utf-32"]), st.data())
def test_positions_of_the_checker_and_of_editors_are_the_same_places(content, counting, data):
    text = Text(content, counting)
    lines = split_lines(content)
    line = data.draw(st.integers(1, len(lines)))
    column = data.draw(st.integers(1, len(lines[line - 1]) + 1))
    at = text.position(line, column)
    before = content[: text.offset(*at)]
    assert split_lines(before)[-1] == lines[line - 1][: column - 1]
    assert len(split_lines(before)) == line
    width = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[counting]
    assert at[1] * width == len(
        lines[line - 1][: column - 1].encode({"utf-8": "utf-8"}.get(counting, counting + "-le"))
    )
    assert text.replaced(at, at, "new").content == before + "new" + content[len(before) :]


def test_paths_of_uris(tmp_path):
    assert path_of((tmp_path / "ä b#.py").as_uri(), tmp_path) == tmp_path / "ä b#.py"
    assert path_of("file://localhost/a.py", tmp_path).as_posix() == "/a.py"
    assert path_of("untitled:Untitled-1", tmp_path) == tmp_path / "Untitled-1"
    assert path_of("untitled:/x/../y", tmp_path).parent == tmp_path
    assert path_of("git:/a.py", tmp_path) is None
