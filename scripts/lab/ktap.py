# SPDX-License-Identifier: GPL-2.0
"""Reading KTAP: what a report says, and whether it is complete.

  python3 ktap.py FILE    say what is wrong with a report that ends with "# end"

Status of the latter: 0 if nothing is, 1 otherwise.
"""

import re
import sys


class Ktap:
    """The top level of a KTAP document, and the harness's own '# key value' lines."""

    RESULT = re.compile(r"^(not ok|ok)\b\s*(\d+)?\s*-?\s*(.*?)(?:\s#\s*(SKIP|TODO|XFAIL)\b\s*(.*))?$",
                        re.IGNORECASE)

    def __init__(self, text):
        self.version = False
        self.plan = None
        self.results = []       # (ok, number, description, directive, reason)
        self.notes = {}
        self.problems = []
        self.ended = False
        self.nested = []        # (path, ok, description, directive, reason)
        self._nested(text)
        last_comment = ""
        for line in text.splitlines():
            if line.startswith("KTAP version") or line.startswith("TAP version"):
                self.version = True
            elif re.match(r"^1\.\.\d+", line):
                if self.plan is not None:
                    self.problems.append("more than one plan")
                self.plan = int(re.match(r"^1\.\.(\d+)", line).group(1))
            elif line.startswith("Bail out!"):
                self.problems.append("bailed out: " + line[9:].strip())
            elif line.startswith("#"):
                note = re.match(r"^# (boot|leaks|taint|exit|end)\b ?(\S*)$", line)
                if note:
                    self.notes[note.group(1)] = note.group(2)
                    self.ended = note.group(1) == "end"
                else:
                    last_comment = line[1:].strip()
            else:
                match = self.RESULT.match(line)
                if match:
                    ok, number, desc, directive, reason = match.groups()
                    if ok == "not ok" and not reason:
                        reason = last_comment
                    self.results.append((ok == "ok", int(number) if number else None, desc,
                                         (directive or "").upper(), (reason or "").strip()))
                    last_comment = ""

    def _nested(self, text):
        """Results of indented documents, four spaces for each level."""
        subtest = ""
        names, plans, counts, comments = {}, {}, {}, []

        def close(level):
            for at in [at for at in plans if at >= level]:
                if plans[at] != counts.get(at, 0):
                    self.problems.append(f"{names[at] or 'nested'}: plan of {plans[at]}, "
                                         f"{counts.get(at, 0)} results")
                del plans[at]

        for line in text.splitlines():
            body = line.lstrip(" ")
            level = (len(line) - len(body)) // 4
            if body.startswith("# Subtest: "):
                subtest, comments = body[11:].strip(), []
            elif body.startswith("#"):
                comments.append(body[1:].strip())
            if not level:
                if self.RESULT.match(body):
                    comments = []
                    close(1)
                    subtest = ""
                continue
            match = self.RESULT.match(body)
            if re.match(r"^(K?TAP version|1\.\.\d)", body) and level not in plans:
                close(level + 1)
                names[level] = ""
            if re.match(r"^K?TAP version", body):
                close(level)
            elif re.match(r"^1\.\.\d+", body):
                close(level)
                names[level] = subtest
                plans[level] = int(re.match(r"^1\.\.(\d+)", body).group(1))
                counts[level] = 0
            elif body.startswith("Bail out!"):
                self.nested.append((subtest, False, "bailed out: " + body[9:].strip(), "", ""))
                plans.pop(level, None)
            elif match:
                close(level + 1)
                ok, _, desc, directive, reason = match.groups()
                counts[level] = counts.get(level, 0) + 1
                if ok == "not ok" and not reason:
                    reason = "; ".join(comments[-3:])
                self.nested.append((names.get(level) or subtest, ok == "ok", desc,
                                    (directive or "").upper(), (reason or "").strip()))
                comments = []
        close(1)

    def skipped(self):
        """All results that were skipped, at any level, as texts: "test: what (why)"."""
        texts = [f"{desc} ({reason})" for ok, _, desc, directive, reason in self.results
                 if ok and directive == "SKIP"]
        return texts + [(f"{path}: " if path else "") + f"{desc} ({reason})"
                        for path, ok, desc, directive, reason in self.nested
                        if ok and directive == "SKIP"]

    def _nested_failures(self):
        return [(path, desc, reason) for path, ok, desc, directive, reason in self.nested
                if not ok and directive not in ("TODO", "XFAIL")]

    def hidden(self):
        """Nested failures, as texts."""
        return [(f"{path}: " if path else "") + desc for path, desc, _ in self._nested_failures()]

    def failed_parts(self):
        """The same, with the comments before them."""
        return [f"not ok {desc}" + (f"; {reason}" if reason else "")
                for _, desc, reason in self._nested_failures()]

    def number(self, key):
        try:
            return int(self.notes.get(key, ""), 0)
        except ValueError:
            return None

    @property
    def skips(self):
        return [r for r in self.results if r[0] and r[3] == "SKIP"]

    @property
    def failures(self):
        return [r for r in self.results if not r[0] and r[3] not in ("TODO", "XFAIL")]

    def mismatch(self):
        """Why the document is not a complete KTAP report; empty if it is."""
        if not self.version:
            return "no KTAP version line"
        if self.plan is None:
            return "no KTAP plan"
        if self.plan == 0 and not self.results:
            return "the KTAP plan is empty"
        if len(self.results) != self.plan:
            return f"KTAP plan of {self.plan}, {len(self.results)} results"
        numbers = [r[1] for r in self.results if r[1] is not None]
        if numbers != list(range(1, len(numbers) + 1)):
            return "KTAP results out of order"
        return "; ".join(self.problems)


def trouble(text):
    """Why a report that has to end with "# end" isn't a good one; empty if it is."""
    report = Ktap(text)
    for _, number, desc, _, reason in report.failures:
        return f"not ok {number or ''} {desc}".strip() + (f": {reason}" if reason else "")
    return report.mismatch() or ("" if report.ended else "the report has no end")


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8", errors="replace") as stream:
        said = trouble(stream.read().replace("\r", ""))
    if said:
        print(said)
    sys.exit(1 if said else 0)
