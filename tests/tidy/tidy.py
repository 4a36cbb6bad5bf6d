#!/usr/bin/env python3
"""House rules that a machine can check: includes follow the arrows of CMakeLists.txt, files and lines stay short,
nothing outside base reads clocks or takes locks. Prints every breach; exit code 1 if there is one."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAX_FILE = 600
MAX_FUNCTION = 70
MAX_TEST_FUNCTION = 120  # tables
MAX_LINE = 100


def arrows():
    """room -> rooms it may see, directly or through others."""
    text = (ROOT / "CMakeLists.txt").read_text()
    direct = {}
    for match in re.finditer(r"skiff_room\((\w+)\s+([^)]*)\)", text):
        words = match.group(2).split()
        rooms = []
        if "ROOMS" in words:
            start = words.index("ROOMS") + 1
            end = words.index("LIBS") if "LIBS" in words else len(words)
            rooms = words[start:end]
        direct[match.group(1)] = set(rooms)
    reach = {}
    for room in direct:
        seen, todo = set(), [room]
        while todo:
            for below in direct[todo.pop()]:
                if below not in seen:
                    seen.add(below)
                    todo.append(below)
        reach[room] = seen | {room, "base"}
    return reach


def sources():
    for top in ("src", "include", "tests"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in (".cpp", ".hpp", ".c", ".h"):
                yield path


def room_of(path):
    parts = path.relative_to(ROOT).parts
    if parts[0] == "src":
        return parts[1]
    if parts[0] == "include" and len(parts) > 3:
        return parts[2]
    return None


def check_includes(path, room, text, reach, out):
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'#include "skiff/(\w+)/', line)
        if match and match.group(1) not in reach.get(room, set()):
            out.append(f"{path}:{number}: room {room} may not see {match.group(1)}")


FORBIDDEN = [
    (re.compile(r"std::(mutex|recursive_mutex|shared_mutex)\b"), "a mutex outside base"),
    (re.compile(r"(system_clock|steady_clock)::now"), "reads a clock outside base"),
    (re.compile(r"std::random_device"), "reads randomness outside base"),
    (re.compile(r"asio::detached"), "a detached task"),
    (re.compile(r"\b(TODO|FIXME|XXX)\b"), "unfinished work"),
]


def check_words(path, text, out):
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > MAX_LINE:
            out.append(f"{path}:{number}: {len(line)} columns, at most {MAX_LINE}")
        for pattern, what in FORBIDDEN:
            if pattern.search(line):
                out.append(f"{path}:{number}: {what}")


def check_functions(path, lines, out):
    """A function body opens with a brace at the end of an unindented (or once indented, in a class) line."""
    start = None
    indent = ""
    for number, line in enumerate(lines, 1):
        if start is None:
            opens = re.match(r"^( {0,2})(?!namespace|struct|class|enum|union|extern|constexpr|const |static const)"
                             r"[^\s#/}].*\)[^;=]*\{$", line)
            if opens:
                start, indent = number, opens.group(1)
        elif line.startswith(indent + "}"):
            limit = MAX_TEST_FUNCTION if path.parts[0] == "tests" else MAX_FUNCTION
            if number - start > limit:
                out.append(f"{path}:{start}: a function of {number - start} lines, at most {limit}")
            start = None


def main():
    reach = arrows()
    breaches = []
    count = 0
    for path in sources():
        count += 1
        text = path.read_text()
        shown = path.relative_to(ROOT)
        lines = text.splitlines()
        room = room_of(path)
        if len(lines) > MAX_FILE:
            breaches.append(f"{shown}: {len(lines)} lines, at most {MAX_FILE}")
        if room and room != "base":
            check_includes(shown, room, text, reach, breaches)
            check_words(shown, text, breaches)
        check_functions(shown, lines, breaches)
    for breach in breaches:
        print(breach)
    print(f"{count} files, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
