# SPDX-License-Identifier: GPL-2.0
"""What scripts/vm, run-test and test share: artifacts, the verdict on a run.

The host decides. Nothing that a guest says makes a run good by itself: a run
passes when its guest powered off by itself, its KTAP is complete, all its
results are ok, and its console has no trace of trouble.
"""

import json
import os
import re
import subprocess
import sys

SCRIPTS = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
TOP = os.path.dirname(SCRIPTS)
CACHE = os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
    "mte-tag-storage")

# Exit status of scripts/vm and scripts/run-test, by class of failure.
EXIT_OK = 0
EXIT_FAILED = 1       # the guest's own test failed, or its KTAP is not good
EXIT_SETUP = 2        # nothing was run: bad arguments, no artifact
EXIT_NO_VERDICT = 3   # the guest went away without a verdict
EXIT_TIMEOUT = 4
EXIT_VM_DIED = 5
EXIT_KERNEL = 6       # the kernel said that something is wrong

# Kernel trouble, worst and most telling first: name, message, pattern. One
# splat matches several; the first match of the list is the run's headline.
SPLATS = [
    ("kasan", "KASAN report", r"BUG: KASAN: |BUG: KFENCE: "),
    ("ubsan", "UBSAN report", r"UBSAN: "),
    ("badpage", "bad page state", r"BUG: Bad page |BUG: Bad rss-counter|Bad pagetable: "),
    ("pagetable", "bad page table", r"BUG: Bad page map|page_table_check"
     r"|bad (?:pgd|p4d|pud|pmd|pte) "),
    ("slab", "slab corruption",
     r"BUG [^\s:]+ .*: (?:Redzone|Poison|Object|Freechain|Left Redzone|Right Redzone|Padding|"
     r"Wrong|Invalid|Objects remaining)|pagealloc: memory corruption|slab-.*corruption"),
    ("softlockup", "soft lockup", r"BUG: soft lockup|watchdog: Watchdog detected hard LOCKUP"),
    ("rcu_stall", "RCU stall", r"rcu: INFO: rcu_\w+ (?:self-)?detected (?:expedited )?stalls?"
     r"|rcu_\w+ kthread (?:starved|timer wakeup)"),
    ("workqueue", "workqueue lockup", r"BUG: workqueue lockup"),
    ("hung_task", "hung task", r"INFO: task .* blocked for more than \d+ seconds"),
    ("lockdep", "lockdep splat",
     r"WARNING: possible (?:circular locking|recursive locking|irq lock inversion)"
     r"|WARNING: (?:HARDIRQ|SOFTIRQ)\S*-safe -> |WARNING: inconsistent lock state"
     r"|WARNING: bad unlock balance|WARNING: held lock freed|WARNING: nested lock was not taken"
     r"|WARNING: suspicious RCU usage|BUG: Invalid wait context|\[ BUG: Invalid wait context"
     r"|WARNING: lock held when returning|BUG: MAX_LOCK|DEBUG_LOCKS_WARN_ON"
     r"|possible deadlock in"),
    ("atomic_sleep", "sleep in atomic context",
     r"BUG: sleeping function called from invalid context|BUG: scheduling while atomic"),
    ("list", "list corruption", r"list_(?:add|del) corruption"),
    ("leak", "kmemleak report", r"kmemleak: \d+ new suspected memory leaks"
     r"|^unreferenced object 0x"),
    ("bug", "kernel BUG", r"kernel BUG at "),
    ("oops", "kernel Oops", r"Internal error: |Unable to handle kernel "),
    ("warn", "kernel WARNING", r"WARNING: CPU: \d+ PID: |WARNING: .* at \S+:\d+ "),
    ("bug", "kernel BUG", r"\bBUG: "),
    ("refcount", "reference count trouble", r"refcount_t: "),
    ("oom", "out of memory", r"Out of memory: Killed|Out of memory and no killable"),
    ("nomem", "page allocation failure", r"page allocation failure: "),
    ("vmstat", "negative counter", r"vmstat_refresh: "),
    ("fs", "file system error", r"EXT[234]-fs error|EXT[234]-fs .*: (?:Remounting|previous I/O)"
     r"|Buffer I/O error|I/O error, dev |JBD2: .*[Ee]rror|Aborting journal"),
    ("panic", "kernel panic", r"Kernel panic - not syncing"),
    # What nothing above knows, but the kernel found worth a backtrace
    ("trace", "backtrace", r"^Call trace:"),
]
SPLATS = [(name, text, re.compile(pattern)) for name, text, pattern in SPLATS]

# Seeing one of these, the machine may never get anywhere: wait a little, stop.
STUCK = {"softlockup", "rcu_stall", "hung_task", "workqueue"}

# Taint of a good run: an out-of-tree (O), unsigned (E) module; KUnit ran (N).
TAINT_ALLOWED = 1 << 12 | 1 << 13 | 1 << 18
TAINT_LETTERS = "GFSRMBUDAWCIOELKXTN"

TIMESTAMP = re.compile(r"^\[ *\d+\.\d+\]\s*(?:\[[ TC]*\d+\]\s*)?")


def say(text):
    print(f"[{os.path.basename(sys.argv[0])}] {text}", file=sys.stderr, flush=True)


def die(text):
    say("error: " + text)
    sys.exit(EXIT_SETUP)


def artifact(script, *args):
    """Run scripts/SCRIPT; its KEY=value lines, and "last": the last line."""
    cmd = [os.path.join(SCRIPTS, script), *args]
    if not os.access(cmd[0], os.X_OK):
        die(f"scripts/{script} is missing")
    done = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode:
        sys.exit(EXIT_SETUP)
    result = {"last": ""}
    for line in done.stdout.splitlines():
        result["last"] = line
        key, sep, value = line.partition("=")
        if sep:
            result[key] = value
    return result


def read_text(path):
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "replace").replace("\r", "")
    except FileNotFoundError:
        return ""


def find_splats(console):
    """[(name, message, line)] in the order of SPLATS, each name once."""
    lines = [TIMESTAMP.sub("", line) for line in console.splitlines()]
    found = {}
    for line in lines:
        for name, text, pattern in SPLATS:
            if pattern.search(line):
                # One line is evidence of one class only.
                found.setdefault(name, (name, text, line.strip()))
                break
    order = []
    for name, _, _ in SPLATS:
        if name in found and found[name] not in order:
            order.append(found[name])
    return order


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
        names, plans, counts = {}, {}, {}

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
                subtest = body[11:].strip()
            if not level:
                if self.RESULT.match(body):
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
                self.nested.append((names.get(level) or subtest, ok == "ok", desc,
                                    (directive or "").upper(), (reason or "").strip()))
        close(1)

    def skipped(self):
        """All results that were skipped, at any level, as texts: "test: what (why)"."""
        texts = [f"{desc} ({reason})" for ok, _, desc, directive, reason in self.results
                 if ok and directive == "SKIP"]
        return texts + [(f"{path}: " if path else "") + f"{desc} ({reason})"
                        for path, ok, desc, directive, reason in self.nested
                        if ok and directive == "SKIP"]

    def hidden(self):
        """Nested failures, as texts."""
        return [(f"{path}: " if path else "") + desc
                for path, ok, desc, directive, _ in self.nested
                if not ok and directive not in ("TODO", "XFAIL")]

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


def taint_text(bits):
    letters = "".join(letter for i, letter in enumerate(TAINT_LETTERS) if i and bits & (1 << i))
    if bits & 1:
        letters = "P" + letters
    return f"{letters or '?'} ({bits})"


def judge(run):
    """The verdict on a run: (classes, reasons, exit status, skipped).

    run: ended      how QEMU ended: shutdown, reset, timeout, stuck, died, interrupted, quit
         status     QEMU's exit status
         console, ktap   text
         test       whether a test was asked for (mts.run=)
         plain      no KTAP is expected, the exit status alone counts
         timeout    seconds, for the message
         signal     name of what interrupted it on the host, or None

    The first class is the headline. An empty list of classes is a pass.
    """
    classes, reasons = [], []

    def add(name, reason):
        if name not in classes:
            classes.append(name)
        reasons.append(reason)

    ktap = Ktap(run["ktap"])
    splats = find_splats(run["console"])
    for name, text, line in splats:
        add(name, f"{text}: {line}")

    leaks = ktap.number("leaks")
    if leaks:
        add("leak", f"kmemleak report: {leaks} unreferenced objects")
    taint = ktap.number("taint")
    if taint is not None and taint & ~TAINT_ALLOWED:
        add("taint", "the kernel is tainted: " + taint_text(taint & ~TAINT_ALLOWED))

    ended = run["ended"]
    if ended in ("timeout", "stuck"):
        add("timeout", f"timeout: no end after {run['timeout']:.0f} s"
            if ended == "timeout" else "stopped: the guest was stuck")
    elif ended == "died":
        add("vm_died", f"the VM died: QEMU ended with status {run['status']}, the guest did not"
            " power off")
    elif ended == "interrupted":
        add("vm_died", f"interrupted: scripts/vm got {run['signal']} on the host")
    elif ended == "reset" and not splats:
        add("reset", "the guest was reset without a panic message")

    if run["test"] and ended in ("shutdown", "quit") or (run["test"] and not classes):
        status = ktap.number("exit")
        if not ktap.ended or status is None:
            add("no_verdict", "no verdict: the guest went away before the test's end")
        else:
            if not run["plain"]:
                for _, number, desc, _, reason in ktap.failures:
                    add("ktap_failed", f"not ok {number or ''} {desc}".strip()
                        + (f": {reason}" if reason else ""))
                if not ktap.failures:
                    for text in ktap.hidden():
                        add("ktap_hidden", "no result of the test tells of this one of its "
                            "parts: not ok " + text)
                problem = ktap.mismatch()
                if status == 4 and ktap.plan == 0:
                    problem = ""    # "1..0 # SKIP reason"
                elif status not in (0, 4) and not ktap.results and not ktap.problems:
                    problem = ""    # it never began; the status says so
                if problem:
                    add("ktap_plan", "plan mismatch: " + problem)
            if status == 127 and not ktap.results:
                add("exit", "the test could not be started (status 127)")
            elif status not in (0, 4) and not ktap.failures and "ktap_plan" not in classes:
                add("exit", f"the test ended with status {status}, though no result says why")
            if taint is None:
                add("no_verdict", "no verdict: the guest did not report its taint")

    skipped = (not classes and run["test"] and not run["plain"]
               and len(ktap.skips) == len(ktap.results))

    if not classes:
        code = EXIT_OK
    elif any(c in ("timeout",) for c in classes) and not splats:
        code = EXIT_TIMEOUT
    elif "vm_died" in classes and not splats:
        code = EXIT_VM_DIED
    elif splats or classes[0] in ("taint", "leak", "reset"):
        code = EXIT_KERNEL
    elif classes[0] == "no_verdict":
        code = EXIT_NO_VERDICT
    else:
        code = EXIT_FAILED
    return classes, reasons, code, skipped


def write_json(path, data):
    with open(path + ".tmp", "w", encoding="utf-8") as stream:
        json.dump(data, stream, indent=1)
        stream.write("\n")
    os.rename(path + ".tmp", path)


def read_json(path):
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)
