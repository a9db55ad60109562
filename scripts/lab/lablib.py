# SPDX-License-Identifier: GPL-2.0
"""What scripts/vm, run-test and test share: artifacts, the verdict on a run.

The host decides. Nothing that a guest says makes a run good by itself: a run
passes when its guest powered off by itself, its KTAP is complete, all its
results are ok, and its console has no trace of trouble.
"""

import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys

from lab.ktap import Ktap

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


def shell(function, *args):
    """What a function of lib.sh prints."""
    done = subprocess.run(["sh", "-euc", '. "$0/lib.sh"; "$@"', os.path.join(SCRIPTS, "lab"),
                           function, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode:
        sys.exit(EXIT_SETUP)
    return done.stdout.strip()


def times(mem, factor):
    """An amount of memory like 512M, so many times."""
    return f"{int(mem[:-1]) * factor}{mem[-1]}"


def need_pkgs(*names):
    shell("need_pkgs", *names)


def new_run(kind, *name):
    """A directory for what a run leaves; old ones of the kind go."""
    return shell("new_run", kind, *name)


# Builds that we use: nobody removes them while these are open
held = {}


def hold(path):
    """Keep a build from being removed, by its stamp."""
    for stamp in (path, os.path.join(path, ".mts-complete"),
                  os.path.join(os.path.dirname(path), ".mts-complete"),
                  os.path.join(os.path.dirname(path), "complete")):
        if path.startswith(CACHE) and stamp not in held and os.path.isfile(stamp):
            held[stamp] = os.open(stamp, os.O_RDONLY)
            fcntl.flock(held[stamp], fcntl.LOCK_SH)


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
        hold(value or line)
    return result


class Steps:
    """What is built before a run, one after the other: artifact(), with "[3/9]" before
    whatever a build has to say. One that is in the cache says nothing."""

    def __init__(self, total):
        self.total, self.done = total, 0

    def build(self, script, *args):
        self.done += 1
        outer = os.environ.get("MTS_STEP")
        os.environ["MTS_STEP"] = outer or f"[{self.done}/{self.total}]"
        try:
            return artifact(script, *args)
        finally:
            if not outer:
                del os.environ["MTS_STEP"]


def emulator(steps=None):
    """Path of the emulator: ours, or that of the environment."""
    return os.environ.get("MTS_QEMU") or (steps.build if steps else artifact)(
        "build/emulator")["last"]


def read_text(path):
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "replace").replace("\r", "")
    except FileNotFoundError:
        return ""


def dump_tree(vm_options, rundir):
    """(path of the device tree that QEMU makes for a machine, given by options of
    scripts/vm, or None; what was said)"""
    os.makedirs(rundir)
    tree = os.path.join(rundir, "machine.dtb")
    # QEMU ends after the dump: to scripts/vm, a machine that died
    done = subprocess.run([os.path.join(SCRIPTS, "vm"), *vm_options, "--rundir", rundir,
                           "--machine", "dumpdtb=" + tree], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return (tree if os.path.isfile(tree) else None), done.stdout


def case_machine(path):
    """Which dts/bad/base-NAME.dts a case of dts/bad or dts/good is for; '' for base.dts."""
    named = re.search(r"machine: (\w+)", read_text(path))
    return named.group(1) if named else ""


def by_commit(items, name):
    """The items in an order that is another one for each commit, but no other for the same;
    name() tells them apart."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=TOP, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, check=False).stdout
    return sorted(items, key=lambda item: hashlib.sha256((commit + name(item)).encode()).digest())


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
