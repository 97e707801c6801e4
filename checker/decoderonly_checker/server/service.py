"""The language server: hears of edits, checks away from the loop that hears, tells what it found.

A file is checked as soon as it is opened or saved, and shortly after the last key press. An edit ends the check that runs;
what it was about is checked again, the edited file first.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from decoderonly_checker.config import CONFIG_NAMES
from decoderonly_checker.flow.clock import Stopped
from decoderonly_checker.server.answers import FIX_ALL, Answers
from decoderonly_checker.server.checks import Checks, warm_up
from decoderonly_checker.server.documents import Cell, Document, Opened, Text, path_of, same_uri
from decoderonly_checker.source.files import SUFFIXES
from decoderonly_checker.version import installed_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from decoderonly_checker.server.checks import Checked

# After the last key press: long enough for most words, too short to wait for.
DELAY = 0.2
_WATCHED = ("**/*.py", "**/*.pyi", "**/*.ipynb", *(f"**/{name}" for name in CONFIG_NAMES), "**/.gitignore")
_log = logging.getLogger(__name__)


class Server(LanguageServer):
    """pygls, without its pop-ups: what goes wrong inside is for the log."""

    def report_server_error(self, error: Exception, source: Any) -> None:  # noqa: ARG002, D102
        _log.error("%s: %s", type(error).__name__, error)


class Service:
    """What is open, and what is known of it."""

    def __init__(self, server: Server) -> None:
        """Answer for a server."""
        self._server = server
        self._checks = Checks()
        self._worker = ThreadPoolExecutor(1, "decoderonly-check")
        self._files: dict[str, Opened] = {}
        self._answers: dict[str, Answers] = {}
        self._waiting: dict[str, bool] = {}  # whether it was edited itself, or something around it
        self._due = 0.0
        self._wake = asyncio.Event()
        self._told = asyncio.Event()
        self._stop = threading.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._problems: set[str] = set()
        self.was_shut_down = False

    # What the editor says

    def initialized(self, _: types.InitializedParams) -> None:
        """Begin to work."""
        self._worker.submit(warm_up)
        self._loop_task = asyncio.ensure_future(self._work())
        workspace = self._server.client_capabilities.workspace
        watching = workspace and workspace.did_change_watched_files
        if watching and watching.dynamic_registration:
            watchers = [types.FileSystemWatcher(glob_pattern=pattern) for pattern in _WATCHED]
            method = types.WORKSPACE_DID_CHANGE_WATCHED_FILES
            options = types.DidChangeWatchedFilesRegistrationOptions(watchers)
            registration = types.Registration("decoderonly-files", method, options)
            self._server.client_register_capability(types.RegistrationParams([registration]))

    def shutdown(self, _: None) -> None:
        """Stop working."""
        self.was_shut_down = True
        self.close()

    def close(self) -> None:
        """End what runs; nothing more is started."""
        self._stop.set()
        if self._loop_task is not None:
            self._loop_task.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def did_open(self, params: types.DidOpenTextDocumentParams) -> None:
        """Take a file."""
        item = params.text_document
        path = path_of(item.uri, self._folder())
        suffix = "" if path is None else path.suffix.lower()
        if path is None or (item.language_id != "python" and suffix not in SUFFIXES):
            return
        file = Opened(item.uri, path)
        file.documents[item.uri] = self._document(item)
        self._files[item.uri] = file
        self._forget()  # it may be new
        self._ask([file], 0)

    def did_change(self, params: types.DidChangeTextDocumentParams) -> None:
        """Take an edit."""
        file = self._file_of(params.text_document.uri)
        if file is not None:
            self._edit(file, params.text_document, params.content_changes)
            self._ask([file], DELAY)

    def did_save(self, params: types.DidSaveTextDocumentParams) -> None:
        """Check what is open anew: what is said of one file may rest on another."""
        file = self._file_of(params.text_document.uri)
        self._check_all(edited=file)

    def did_close(self, params: types.DidCloseTextDocumentParams) -> None:
        """Say no more of a file."""
        file = self._file_of(params.text_document.uri)
        if file is not None:
            self._close(file)

    def did_open_notebook(self, params: types.DidOpenNotebookDocumentParams) -> None:
        """Take a notebook."""
        path = path_of(params.notebook_document.uri, self._folder())
        if path is None:
            return
        file = Opened(params.notebook_document.uri, path, notebook=True)
        file.cells = [_cell(cell) for cell in params.notebook_document.cells]
        for item in params.cell_text_documents:
            file.documents[item.uri] = self._document(item)
        self._files[file.uri] = file
        self._forget()
        self._ask([file], 0)

    def did_change_notebook(self, params: types.DidChangeNotebookDocumentParams) -> None:
        """Take edits of cells, cells that come, go and move."""
        file = self._file_of(params.notebook_document.uri)
        change = params.change.cells
        if file is None or change is None:
            return
        if change.structure is not None:
            array = change.structure.array
            new = [_cell(cell) for cell in array.cells or ()]
            file.cells[array.start : array.start + array.delete_count] = new
            for item in change.structure.did_open or ():
                file.documents[item.uri] = self._document(item)
            for gone in change.structure.did_close or ():
                if file.documents.pop(gone.uri, None) is not None:
                    self._publish(gone.uri, None, ())
        for cell in change.data or ():
            file.cells = [_cell(cell) if cell.document == one.uri else one for one in file.cells]
        for text in change.text_content or ():
            self._edit(file, text.document, text.changes)
        file.revision += 1
        self._ask([file], DELAY)

    def did_save_notebook(self, params: types.DidSaveNotebookDocumentParams) -> None:
        """Check what is open anew."""
        self._check_all(edited=self._file_of(params.notebook_document.uri))

    def did_close_notebook(self, params: types.DidCloseNotebookDocumentParams) -> None:
        """Say no more of a notebook."""
        file = self._file_of(params.notebook_document.uri)
        if file is not None:
            self._close(file)

    def did_change_watched_files(self, _: types.DidChangeWatchedFilesParams) -> None:
        """Check what is open anew: files around it have changed."""
        self._check_all(edited=None)

    # What the editor asks

    def hover(self, params: types.HoverParams) -> types.Hover | None:
        """Return the page of the rule whose finding stands there."""
        uri = params.text_document.uri
        file = self._file_of(uri)
        answers = None if file is None else self._answers.get(file.uri)
        if answers is None:
            return None
        text = self._server.client_capabilities.text_document
        formats = (text.hover.content_format if text and text.hover else None) or [types.MarkupKind.Markdown]
        markdown = types.MarkupKind.Markdown in formats
        return answers.hover(_known(answers.file, uri), params.position, markdown=markdown)

    async def code_action(self, params: types.CodeActionParams) -> list[types.CodeAction] | None:
        """Return what can be done about the findings there, in the text as it is now."""
        uri = params.text_document.uri
        file = self._file_of(uri)
        answers = None if file is None else await self._current(file)
        if answers is None:
            return None
        workspace = self._server.client_capabilities.workspace
        edits = workspace and workspace.workspace_edit
        only = None
        if params.context.only is not None:
            only = [
                kind.value if isinstance(kind, types.CodeActionKind) else kind for kind in params.context.only
            ]
        return answers.actions(
            _known(answers.file, uri), params.range, only, versioned=bool(edits and edits.document_changes)
        )

    # How it comes about

    def _folder(self) -> Path:
        root = self._server.workspace.root_path
        return Path(root) if root else Path.cwd()

    def _document(self, item: types.TextDocumentItem) -> Document:
        return Document(item.uri, Text(item.text, self._counting()), item.version, str(item.language_id))

    def _counting(self) -> str:
        kind = self._server.workspace.position_encoding
        return kind.value if isinstance(kind, types.PositionEncodingKind) else str(kind or "utf-16")

    def _file_of(self, uri: str) -> Opened | None:
        for file in self._files.values():
            if same_uri(file.uri, uri) or any(same_uri(one, uri) for one in file.documents):
                return file
        return None

    def _edit(
        self,
        file: Opened,
        named: types.VersionedTextDocumentIdentifier,
        changes: Iterable[types.TextDocumentContentChangeEvent],
    ) -> None:
        uri = _known(file, named.uri)
        document = file.documents.get(uri)
        if document is None:
            return
        text = document.text
        for change in changes:
            if isinstance(change, types.TextDocumentContentChangePartial):
                span = change.range
                start, end = (span.start.line, span.start.character), (span.end.line, span.end.character)
                text = text.replaced(start, end, change.text)
            else:
                text = Text(change.text, text.counting)
        file.documents[uri] = Document(uri, text, named.version, document.language)
        file.revision += 1

    def _close(self, file: Opened) -> None:
        del self._files[file.uri]
        self._answers.pop(file.uri, None)
        self._waiting.pop(file.uri, None)
        for uri in file.documents:
            self._publish(uri, None, ())
        self._tell()

    def _forget(self) -> None:
        self._worker.submit(self._checks.forget)

    def _check_all(self, *, edited: Opened | None) -> None:
        self._forget()
        others = [file for file in self._files.values() if file is not edited]
        for file in others:
            self._waiting.setdefault(file.uri, False)
        if edited is not None:
            self._ask([edited], 0)
        elif others:
            self._ask([], DELAY)

    def _ask(self, edited: Sequence[Opened], delay: float) -> None:
        """Have files checked when no more edits come for some time; what runs is given up."""
        for file in edited:
            self._waiting.pop(file.uri, None)
            self._waiting[file.uri] = True  # the last one edited is the first one checked
        self._due = asyncio.get_running_loop().time() + delay
        self._stop.set()
        self._wake.set()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            while self._waiting:
                while (left := self._due - loop.time()) > 0:
                    await asyncio.sleep(left)
                await self._check(self._next())
            self._wake.clear()

    def _next(self) -> list[Opened]:
        """What to check first: the file edited last; then all the others together, which share what they share."""
        for uri in reversed(self._waiting):
            if self._waiting[uri]:
                return [self._files[uri]]
        return [self._files[uri] for uri in self._waiting]

    async def _check(self, files: Sequence[Opened]) -> None:
        snapshots = [file.snapshot() for file in files]
        around = [file.snapshot() for file in self._files.values()]
        self._stop = stop = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            done = await loop.run_in_executor(self._worker, self._run, snapshots, around, stop)
        except Exception:  # a bug of ours must not end the editor's session
            _log.exception("a check failed")
            done = []
        if done is None:
            return
        for snapshot in snapshots:
            if self._is_current(snapshot):
                self._waiting.pop(snapshot.uri, None)
        for answers in done:
            if not self._is_current(answers.file):
                continue
            self._answers[answers.file.uri] = answers
            for uri, shown in answers.by_document.items():
                version = answers.file.documents[uri].version
                self._publish(uri, version, [diagnostic for diagnostic, _ in shown])
            if answers.problem and answers.problem not in self._problems:
                self._problems.add(answers.problem)
                said = types.ShowMessageParams(types.MessageType.Error, f"decoderonly: {answers.problem}")
                self._server.window_show_message(said)
        self._tell()

    def _is_current(self, snapshot: Opened) -> bool:
        """Whether a file is open still, and was not edited meanwhile."""
        file = self._files.get(snapshot.uri)
        return file is not None and file.revision == snapshot.revision

    def _run(
        self, files: Sequence[Opened], around: Sequence[Opened], stop: threading.Event
    ) -> list[Answers] | None:
        """Check, away from the loop; None if it was given up."""
        unsaved = {str(file.path): file.data() for file in around}
        unsaved |= {str(file.path): file.data() for file in files}
        try:
            found = self._checks.check(files, unsaved, stop.is_set)
        except Stopped:
            return None
        if stop.is_set():
            return None
        made = [self._answers_of(one, around) for one in found]
        for answers in made:
            answers.by_document  # noqa: B018 - reads files, which the loop should not wait for
        return made

    def _answers_of(self, checked: Checked, around: Sequence[Opened]) -> Answers:
        text = self._server.client_capabilities.text_document
        publish = text and text.publish_diagnostics
        related = bool(publish and publish.related_information)
        return Answers(checked, around, self._counting(), related=related)

    async def _current(self, file: Opened) -> Answers | None:
        """Return what is known of a file as it is now; None if it was closed."""
        while self._files.get(file.uri) is file:
            answers = self._answers.get(file.uri)
            if answers is not None and answers.file.revision == file.revision:
                return answers
            if file.uri not in self._waiting:
                return None  # its check failed
            self._due = 0.0
            await self._told.wait()
        return None

    def _tell(self) -> None:
        """Wake those who wait for findings."""
        self._told.set()
        self._told = asyncio.Event()

    def _publish(self, uri: str, version: int | None, diagnostics: Sequence[types.Diagnostic]) -> None:
        self._server.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(uri, list(diagnostics), version)
        )


def _known(file: Opened, uri: str) -> str:
    """The name under which a file's document is known: editors may write a URI in two ways."""
    return next((one for one in file.documents if same_uri(one, uri)), uri)


def _cell(cell: types.NotebookCell) -> Cell:
    return Cell(cell.document, cell.kind is types.NotebookCellKind.Code)


def serve() -> int:
    """Serve on standard input and output until the editor leaves; return the exit code."""
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    output = sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever prints must not talk into the protocol
    notebooks = types.NotebookDocumentSyncOptions(
        [
            types.NotebookDocumentFilterWithNotebook(
                notebook="jupyter-notebook", cells=[types.NotebookCellLanguage("python")]
            )
        ],
        save=True,
    )
    server = Server(
        "decoderonly",
        installed_version() or "unknown",
        text_document_sync_kind=types.TextDocumentSyncKind.Incremental,
        notebook_document_sync=notebooks,
    )
    service = Service(server)
    for method, handler in (
        (types.INITIALIZED, service.initialized),
        (types.SHUTDOWN, service.shutdown),
        (types.TEXT_DOCUMENT_DID_OPEN, service.did_open),
        (types.TEXT_DOCUMENT_DID_CHANGE, service.did_change),
        (types.TEXT_DOCUMENT_DID_SAVE, service.did_save),
        (types.TEXT_DOCUMENT_DID_CLOSE, service.did_close),
        (types.NOTEBOOK_DOCUMENT_DID_OPEN, service.did_open_notebook),
        (types.NOTEBOOK_DOCUMENT_DID_CHANGE, service.did_change_notebook),
        (types.NOTEBOOK_DOCUMENT_DID_SAVE, service.did_save_notebook),
        (types.NOTEBOOK_DOCUMENT_DID_CLOSE, service.did_close_notebook),
        (types.WORKSPACE_DID_CHANGE_WATCHED_FILES, service.did_change_watched_files),
        (types.TEXT_DOCUMENT_HOVER, service.hover),
    ):
        server.feature(method)(partial(handler))  # pygls writes attributes, which bound methods have none of
    kinds = [types.CodeActionKind.QuickFix, FIX_ALL]
    server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(kinds))(
        partial(service.code_action)
    )
    try:
        server.start_io(stdout=output)
    finally:
        service.close()
    return 0 if service.was_shut_down else 1
