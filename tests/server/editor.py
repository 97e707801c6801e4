"""An editor without windows: pygls' client, and documents whose edits are applied by UTF-16 units, on their own."""

import asyncio
import concurrent.futures
import re
import sys
import threading
import time
from functools import partial

from lsprotocol import types
from pygls.lsp.client import LanguageClient

PATIENCE = 90  # seconds; a busy machine is no failure


class Editor:
    """One server process, and what it has told."""

    def __init__(self, folder, *command, capabilities=None):
        self.folder = folder
        self.client = LanguageClient("tests", "1")
        self.told = {}  # by URI: what was published, in order
        self.messages = []
        self.texts = {}
        self.versions = {}
        self._news = threading.Condition()
        self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(partial(self._published))
        self.client.feature(types.WINDOW_SHOW_MESSAGE)(lambda params: self.messages.append(params.message))
        self.registered = []
        self.client.feature(types.CLIENT_REGISTER_CAPABILITY)(
            lambda params: self.registered.extend(one.method for one in params.registrations)
        )
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.stderr = []
        command = command or ("-m", "decoderonly_checker", "server")
        self.call(self.client.start_io(sys.executable, *command, cwd=str(folder)))
        self._reading = asyncio.run_coroutine_threadsafe(self._read_stderr(), self._loop)
        self.capabilities = self.call(
            self.client.initialize_async(
                types.InitializeParams(
                    capabilities=capabilities or CAPABILITIES,
                    workspace_folders=[types.WorkspaceFolder(folder.as_uri(), folder.name)],
                    root_uri=folder.as_uri(),
                )
            )
        ).capabilities
        self._notify(self.client.initialized, types.InitializedParams())

    @property
    def process(self):
        return self.client._server.pid

    async def _read_stderr(self):
        async for line in self.client._server.stderr:
            self.stderr.append(line.decode())

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def _notify(self, method, params):
        done = concurrent.futures.Future()

        def send():
            try:
                done.set_result(method(params))
            except Exception as problem:
                done.set_exception(problem)

        self._loop.call_soon_threadsafe(send)
        done.result(PATIENCE)

    def _published(self, params):
        with self._news:
            self.told.setdefault(params.uri, []).append(params)
            self._news.notify_all()

    def uri(self, name):
        return (self.folder / name).as_uri()

    def open(self, name, text):
        uri = self.uri(name)
        self.texts[uri] = text
        self.versions[uri] = 1
        item = types.TextDocumentItem(uri, "python", 1, text)
        self._notify(self.client.text_document_did_open, types.DidOpenTextDocumentParams(item))
        return self.findings(name)

    def type(self, name, line, character, end_line, end_character, new):
        """Replace a range, in UTF-16 units; nothing is waited for."""
        uri = self.uri(name)
        span = types.Range(types.Position(line, character), types.Position(end_line, end_character))
        self.texts[uri] = applied(self.texts[uri], [types.TextEdit(span, new)])
        self._change(uri, types.TextDocumentContentChangePartial(range=span, text=new))

    def write(self, name, text):
        """Replace everything; nothing is waited for."""
        uri = self.uri(name)
        self.texts[uri] = text
        self._change(uri, types.TextDocumentContentChangeWholeDocument(text=text))

    def _change(self, uri, change):
        self.versions[uri] += 1
        named = types.VersionedTextDocumentIdentifier(uri=uri, version=self.versions[uri])
        self._notify(self.client.text_document_did_change, types.DidChangeTextDocumentParams(named, [change]))

    def save(self, name):
        uri = self.uri(name)
        (self.folder / name).write_bytes(self.texts[uri].encode())
        params = types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri))
        self._notify(self.client.text_document_did_save, params)

    def close(self, name):
        uri = self.uri(name)
        before = len(self.told.get(uri, ()))
        params = types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri))
        self._notify(self.client.text_document_did_close, params)
        self.wait_for(lambda: len(self.told.get(uri, ())) > before)
        return list(self.told.pop(uri)[-1].diagnostics)

    def notify(self, method, params):
        self._notify(getattr(self.client, method), params)

    def wait_for(self, holds):
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while not holds():
                left = deadline - time.monotonic()
                assert left > 0, f"nothing came: {self.stderr} {self.messages}"
                assert self.client._server.returncode is None, self.stderr
                self._news.wait(min(left, 1))

    def findings(self, name, after=0):
        """The diagnostics of a file as it is now; `after`: only if more than that many lists have come."""
        uri = self.uri(name)

        def came():
            told = self.told.get(uri, ())
            return len(told) > after and told[-1].version == self.versions[uri]

        self.wait_for(came)
        return list(self.told[uri][-1].diagnostics)

    def lists(self, name):
        return len(self.told.get(self.uri(name), ()))

    def actions(self, name, span, only=None):
        context = types.CodeActionContext([], only)
        params = types.CodeActionParams(types.TextDocumentIdentifier(self.uri(name)), span, context)
        return list(self.call(self.client.text_document_code_action_async(params)) or ())

    def hover(self, name, position):
        params = types.HoverParams(types.TextDocumentIdentifier(self.uri(name)), position)
        return self.call(self.client.text_document_hover_async(params))

    def after(self, action, name):
        """A file's text as it would be after a code action."""
        uri = self.uri(name)
        for change in action.edit.document_changes:
            if change.text_document.uri == uri:
                assert change.text_document.version == self.versions.get(uri)
                before = self.texts.get(uri)
                text = (self.folder / name).read_text("utf-8") if before is None else before
                return applied(text, change.edits)
        raise AssertionError(f"{name} is not changed: {action}")

    def quit(self, *, politely=True):
        """Leave; the server's exit status."""
        if politely:
            self.call(self.client.shutdown_async(None))
        self._notify(self.client.exit, None)
        status = self.call(self.client._server.wait())
        self.call(self.client.stop())
        self._reading.result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        return status


CAPABILITIES = types.ClientCapabilities(
    text_document=types.TextDocumentClientCapabilities(
        publish_diagnostics=types.PublishDiagnosticsClientCapabilities(related_information=True)
    ),
    workspace=types.WorkspaceClientCapabilities(
        workspace_edit=types.WorkspaceEditClientCapabilities(document_changes=True),
        did_change_watched_files=types.DidChangeWatchedFilesClientCapabilities(dynamic_registration=True),
    ),
)


def applied(text, edits):
    """The text with edits of the protocol made, by UTF-16 units."""
    starts = [0, *(match.end() for match in re.finditer("\r\n|\n|\r", text))]
    data = text.encode("utf-16-le")

    def offset(position):
        if position.line >= len(starts):
            return len(data)
        return len(text[: starts[position.line]].encode("utf-16-le")) + 2 * position.character

    for edit in sorted(edits, key=lambda one: offset(one.range.start), reverse=True):
        new = edit.new_text.encode("utf-16-le")
        data = data[: offset(edit.range.start)] + new + data[offset(edit.range.end) :]
    return data.decode("utf-16-le")


def covered(text, span):
    """The text in a range of the protocol."""
    whole = types.TextEdit(span, "\0\0")
    before, _, behind = applied(text, [whole]).partition("\0\0")
    return text[len(before) : len(text) - len(behind)]
