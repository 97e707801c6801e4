"""How long an editor waits for findings after a key press: `python benchmarks/server_latency.py FILE…`.

A real server process, a real client; each press types one letter into a comment at the end of the file, so that it is analysed
anew. Printed are the times from the edit to the findings, without the time that the server waits for further presses, and the
server's processor time a press, which a busy machine does not lengthen.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "server"))

from decoderonly_checker.config import load_settings
from decoderonly_checker.plan import project_files
from decoderonly_checker.server.service import DELAY
from editor import Editor


def processor_time(process: int) -> float:
    """Seconds that a process has computed (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(file: Path, presses: int) -> None:
    """Open a file, type, and print the times."""
    settings = load_settings(file)
    around = len(project_files([str(file)], settings))
    text = file.read_text(encoding="utf-8")
    editor = Editor(settings.root)
    name = str(file.relative_to(settings.root))
    found = editor.open(name, text.rstrip("\n") + "\n# ")
    line = text.rstrip("\n").count("\n") + 1
    before = processor_time(editor.process)
    times = []
    for number in range(presses):
        begin = time.perf_counter()
        editor.type(name, line, 2 + number, line, 2 + number, "x")
        editor.findings(name)
        times.append(time.perf_counter() - begin - DELAY)
    computed = (processor_time(editor.process) - before) / presses
    editor.quit()
    median, least, most = (f"{1000 * of(times):.0f}" for of in (statistics.median, min, max))
    print(
        f"{file.name}: {line} lines, {around} files in the project, {len(found)} findings. A key press: {median} ms "
        f"({least} to {most}, {presses} presses), {1000 * computed:.0f} ms of them computing"
    )


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--presses", type=int, default=15)
    options = parser.parse_args()
    for file in options.files:
        measure(file.resolve(), options.presses)


if __name__ == "__main__":
    main()
