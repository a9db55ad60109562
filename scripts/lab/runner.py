# SPDX-License-Identifier: GPL-2.0
"""Jobs side by side, and what comes of them."""

import os
import re
import signal
import subprocess
import sys
import threading

# The last line of whatever runs tests
SUM = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")
WORDS = {"pass": "PASS", "fail": "FAIL", "skip": "SKIP", "setup": "FAIL"}

# Children that run now: an interrupted run ends them, and they their machines.
running = set()


def call(cmd, **options):
    """Run a child to its end: (status, what it said to stderr, or stdout, if that is a
    pipe)."""
    with subprocess.Popen(cmd, stdin=subprocess.DEVNULL, text=True, errors="replace",
                          **options) as child:
        running.add(child)
        try:
            output, errors = child.communicate()
        except BaseException:
            child.terminate()
            raise
        finally:
            running.discard(child)
    return child.returncode, (output if errors is None else errors) or ""


def run_for_sum(command, before="", **options):
    """Run a script whose last line is such a sum, and show what it says: [passed, failed,
    skipped]. The reader of the log looks for one sum, at its end: BEFORE is put before
    this one. Without a sum, or with a bad status, something failed."""
    total = None
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          **options) as child:
        for line in child.stdout:
            match = SUM.match(line.strip())
            if match:
                total = [int(n) for n in match.groups()]
                line = f"   {before}{line}"
            print(line, end="", flush=True)
    if total is None:
        total = [0, 1, 0]
    elif child.returncode and not total[1]:
        total[1] = 1
    return total


def stop_running():
    for child in list(running):
        child.terminate()
    for child in list(running):
        child.wait()


class Count:
    """Results, and the line and the exit status that they make."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, status):
        """pass, fail, skip, or setup: nothing was run."""
        self.passed += status == "pass"
        self.failed += status in ("fail", "setup")
        self.skipped += status == "skip"

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    @property
    def code(self):
        return 1 if self.failed or not self.passed else 0


def side_by_side(jobs, slots):
    """Call each job's run(), in their order, as many at a time as there are slots for;
    a job takes as many as its "smp". Ends the process when that is interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    state = threading.Condition()
    free = slots

    def one(job, weight):
        nonlocal free
        try:
            job.run()
        finally:
            with state:
                free += weight
                state.notify_all()

    threads = []
    try:
        # Long and wide ones first is not worth it: the list's order tells more.
        for job in jobs:
            weight = min(max(job.smp, 1), slots)
            with state:
                while weight > free:
                    state.wait()
                free -= weight
            threads.append(threading.Thread(target=one, args=(job, weight)))
            threads[-1].start()
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        stop_running()
        print("\ninterrupted", flush=True)
        os._exit(130)


class Job:
    """A job of a Runner: reports what run() of its test returns."""

    def __init__(self, runner, test):
        self.runner, self.test, self.smp = runner, test, test.smp

    def run(self):
        try:
            status, verdict = self.runner.run_one(self.test)
        except (Exception, SystemExit) as error:  # a test that can't run is a failure
            status, verdict = "setup", {"reasons": [f"nothing was run: {error!r}"]}
        self.runner.note(self.test, status, verdict)


class Runner:
    """Runs tests side by side and tells what comes of each. A test has a name, the
    number of CPUs it wants (smp), and what run_one() takes; that returns its status and
    a verdict: "reasons", which "parts" failed, "seconds", and what is worth telling of
    a pass ("says")."""

    def __init__(self, tests, run_one, slots=None):
        self.tests, self.run_one = list(tests), run_one
        self.slots = slots or min(os.cpu_count() or 1, 2)
        self.count = Count()
        self.failed = []        # (test, reasons)
        self.done = 0
        self.lock = threading.Lock()

    def note(self, test, status, verdict):
        with self.lock:
            self.count.add(status)
            self.done += 1
            total = len(self.tests)
            print(f"[{self.done:{len(str(total))}}/{total}] {WORDS[status]} {test.name} "
                  f"({verdict.get('seconds', 0):.1f} s) {verdict.get('says', '')}".rstrip())
            if status != "pass":
                for reason in verdict["reasons"] + verdict.get("parts", []):
                    print(f"          {reason}")
            if status in ("fail", "setup"):
                self.failed.append((test, verdict["reasons"]))
            sys.stdout.flush()

    def run(self):
        side_by_side([Job(self, test) for test in self.tests], self.slots)
        return self.count
