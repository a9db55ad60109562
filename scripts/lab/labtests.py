# SPDX-License-Identifier: GPL-2.0
"""The list of tests: its entries, running one, comparing with what was expected.

A line of the list: NAME TIMEOUT OPTIONS TEST [ARGS...], where OPTIONS is '-' or
comma separated:

  mem=1G smp=2 numa=2 block-size=8192 icount dtb=F    the machine
  numa=both/memory/cpus   nodes that don't have both
  tree=NAME         dts/good/NAME.dtsi applied to the machine's own device tree
  machine=K=V       property of the virt machine; may be repeated
  append=WORD       kernel parameter; may be repeated
  delay=POINT       CPUs rest there, and must (see labdelay.py); may be repeated
  module=broken     the deliberately broken module instead of the real one
  module=table      the one that keeps references to sites in a table
  flavour=vanilla   the unpatched kernel
  with=NAME         scripts/config/NAME.config merged into the kernel's configuration;
                    with=- for none, where the page size would have one
  pages=64k         for kernels with such pages only (environment PAGES), and mem= is
                    meant so; all others are for all, and mem= is for 4K: larger pages
                    have 4 times as much, and TIMEOUT is twice as long
  only-4k=WHY       skipped with larger pages: why, '.' for a space
  guest=debian      Debian's userland, kernel and packages (build/debian-guest) instead
                    of the initramfs; guest=chroot: with its disk (build/debian-root)
  swap=1G           one more disk, for swap
  kernel=debug|normal   only with (without) --debug; another name: only on that kernel of
                    scripts/config/kernels.list, which has with= this name
  expect=pass|CLASS a class (see lablib.py): the run's headline must be just that
  expect=fail:A|B   each of these results must be "not ok", and nothing else may be
                    wrong: A and B are regular expressions, '.' for a space
  may-fail=A|B      with it: these results may be "not ok", too
  skips=A|B|~C      the results that are skipped, nested ones too, as the texts
                    "test: what (why)": each must match one of these, and each
                    of these one of them, but for C, which may or may not be.
                    With other than 4K pages PAGES_SKIPS, below, may be as well
  allow=CLASS|...   what the console may say without harm (a program runs out of
                    memory on purpose)
  plain             no KTAP; the exit status of TEST is the verdict
  says=REGEXP       what the console has to say, '.' for a space
  kselftest         with the kernel's own selftests in /tests/kselftest
  uefi=HOW          UEFI firmware starts it, with ACPI and no device tree; HOW it keeps the
                    tag storage is told in selftests/firmware. For kernel=acpi
  kexec             with the kernel and its initramfs in /boot
  host-kill         kill the emulator when the test has started (canary)

TEST is /tests/TEST in the guest.
"""

import os
import re
import signal
import subprocess
import threading
import time

from lab import lablib
from lab.ktap import Ktap
from lab.lablib import SCRIPTS, TOP, die
from lab.runner import call

DEFAULT_LISTS = [os.path.join(TOP, "selftests", "tests.list"),
                 os.path.join(TOP, "selftests", "canary", "tests.list")]
MODULES = {"broken": "--break", "table": "--table"}
DEBIAN = {"debian": "build/debian-guest", "chroot": "build/debian-root"}
FLAGS = {"icount", "plain", "kselftest", "kexec", "host-kill"}
KEYS = {"mem", "smp", "numa", "block-size", "dtb", "machine", "append", "module", "flavour",
        "with", "kernel", "expect", "may-fail", "skips", "allow", "says", "tree", "pages",
        "only-4k", "guest", "swap", "delay", "uefi"}
# Of these those that may come more than once
REPEATED = ("machine", "append", "delay")
PAGES = os.environ.get("PAGES") or "4k"
MEM_FACTOR = {"4k": 1, "16k": 4, "64k": 4}
# Pageblocks of 512 MiB are too large for these machines.
PAGES_FRAGMENT = {"64k": "pageblock-64k"}
# Huge pages are as large there, and 64 KiB are no large folio. These reasons are no others'.
PAGES_SKIPS = {"16k": [r"\(for 4K pages\)$"],
               "64k": [r"\(for 4K pages\)$", r"\(no huge page\)$", r"\(no 64 KiB folios\)$",
                       r"64 KiB.*\(not supported\)$", r"\(no folios of that size\)$",
                       r"\(it made no huge page\)$",
                       r"\(memory is too small for huge pages\)$",
                       r"^mts_split \(all of it\)$",
                       # They are about huge pages alone
                       r"^mts_(cost|collapse|shthp) \(all of it\)$"]}
# What may come with a class, without being a second failure.
COMPANIONS = {"taint", "oops", "panic", "warn", "bug", "trace", "timeout", "no_verdict",
              "vm_died"}


class Entry:
    def __init__(self, line, where):
        words = line.split()
        if len(words) < 4:
            die(f"{where}: wanted NAME TIMEOUT OPTIONS TEST [ARGS...]: {line}")
        self.name = words[0]
        self.options = {}
        self.repeated = {key: [] for key in REPEATED}
        self.flags = set()
        try:
            self.timeout = float(words[1])
        except ValueError:
            die(f"{where}: bad timeout '{words[1]}'")
        for item in [] if words[2] == "-" else words[2].split(","):
            key, sep, value = item.partition("=")
            if item in FLAGS:
                self.flags.add(item)
            elif key not in KEYS or not sep:
                die(f"{where}: unknown option '{item}'")
            elif key in REPEATED:
                self.repeated[key].append(value)
            else:
                self.options[key] = value
        self.test = words[3]
        self.args = words[4:]
        self.smp = int(self.options.get("smp", "2"))
        if PAGES != "4k" and "pages" not in self.options:
            self.timeout *= 2

    def wanted(self, debug):
        if self.options.get("pages", PAGES) != PAGES:
            return False
        kernel = self.options.get("kernel")
        return kernel in (None, "debug" if debug else "normal", self.options.get("with"))

    def too_large(self):
        """Why it can't run with pages of this size, or None."""
        if PAGES == "4k" or "only-4k" not in self.options:
            return None
        return self.options["only-4k"].replace(".", " ")

    @property
    def guest(self):
        return self.options.get("guest", "lab")

    @property
    def flavour(self):
        return self.options.get("flavour", "patched")

    @property
    def kernel(self):
        """Which of the lab's kernels it boots."""
        fragment = self.options.get("with")
        if fragment is None and self.flavour == "patched":
            fragment = PAGES_FRAGMENT.get(PAGES)
        return self.flavour, "" if fragment in (None, "-") else fragment

    @property
    def module(self):
        name = self.options.get("module")
        if name is not None and name not in MODULES:
            die(f"{self.name}: unknown module '{name}'")
        return name

    def memory(self):
        """A carve-out has as many pageblocks with larger pages when memory is larger."""
        mem = self.options["mem"]
        if "pages" in self.options:
            return mem
        return lablib.times(mem, MEM_FACTOR[PAGES])

    def vm_args(self, rundir, artifacts):
        opts = self.options
        args = ["--rundir", rundir, "--run", self.test, "--timeout", str(self.timeout)]
        if self.args:
            args += ["--args", ",".join(self.args)]
        if "mem" in opts:
            args += ["--mem", self.memory()]
        for key in ("smp", "numa", "block-size", "swap", "uefi"):
            if key in opts:
                args += ["--" + key, opts[key]]
        if "dtb" in opts:
            args += ["--dtb", os.path.join(TOP, opts["dtb"])]
        for key, values in self.repeated.items():
            for item in values:
                args += ["--" + key, item]
        if self.flags & {"icount"}:
            args += ["--icount"]
        if self.flags & {"plain"}:
            args += ["--plain"]
        return args + artifacts.args(self, rundir)


class Artifacts:
    """What a set of entries boots, built before the first of them runs."""

    @staticmethod
    def steps(entries):
        """How many are built for these entries."""
        entries = [e for e in entries if not e.too_large()]
        return bool(entries) + any("kselftest" in e.flags for e in entries) + \
            2 * len({e.kernel for e in entries if e.guest != "debian"}) + \
            len({e.kernel for e in entries if "uefi" in e.options}) + \
            len({e.guest for e in entries} - {"lab"}) + \
            len({(e.kernel, e.module) for e in entries if e.module})

    def __init__(self, entries, debug, steps=None):
        self.debug = ["--debug"] if debug else []
        self.boot = {}
        self.modules = {}
        self.kselftests = None
        entries = [e for e in entries if not e.too_large()]
        if not entries:
            return
        modules = sorted({(e.kernel, e.module) for e in entries if e.module})
        steps = steps or lablib.Steps(self.steps(entries))
        self.qemu = lablib.emulator(steps)
        if any("kselftest" in e.flags for e in entries):
            self.kselftests = steps.build("build/kselftests")["DIR"]
        for guest, script in DEBIAN.items():
            if any(e.guest == guest for e in entries):
                steps.build(script)
        for key in sorted({e.kernel for e in entries if e.guest != "debian"}):
            flavour, fragment = key
            kernel = steps.build("build/kernel", "--flavour", flavour, *self.debug,
                                 *(["--with", fragment] if fragment else []))
            initramfs = steps.build("build/initramfs", "--flavour", flavour,
                                    "--kdir", kernel["KDIR"])
            self.boot[key] = ["--image", kernel["IMAGE"], "--initrd", initramfs["INITRAMFS"]]
            if any("uefi" in e.options for e in entries if e.kernel == key):
                steps.build("build/efi", "--image", kernel["IMAGE"])
            for name in [name for at, name in modules if at == key]:
                self.modules[key, name] = steps.build("build/module", MODULES[name],
                                                      "--kdir", kernel["KDIR"])["MODULE"]

    def args(self, entry, rundir):
        args = ["--qemu", self.qemu, *self.debug]
        if entry.guest != "lab":
            args += ["--guest", entry.guest, "--flavour", entry.flavour]
        if entry.guest == "debian":
            return args
        args += self.boot[entry.kernel]
        if "kexec" in entry.flags:
            boot = os.path.join(rundir, "overlay", "boot")
            os.makedirs(boot, exist_ok=True)
            _, image, _, initrd = self.boot[entry.kernel]
            os.symlink(image, os.path.join(boot, "Image"))
            os.symlink(initrd, os.path.join(boot, "initramfs"))
            args += ["--overlay", os.path.dirname(boot)]
        if "kselftest" in entry.flags:
            args += ["--overlay", self.kselftests]
        if entry.module:
            args += ["--module", self.modules[entry.kernel, entry.module]]
        return args


def lines(path=DEFAULT_LISTS[0]):
    """(number, name, line) of a list of tests, as it is written."""
    if not os.path.isfile(path):
        die(f"no list of tests: {path}")
    for number, line in enumerate(lablib.read_text(path).splitlines(), 1):
        line = line.split("#", 1)[0].strip()
        if line:
            yield number, line.split()[0], line


def read_list(path):
    return [Entry(line, f"{os.path.relpath(path, TOP)}:{number}")
            for number, _, line in lines(path)]


def with_options(line, options):
    """A line of a list, with more options; one that may come once replaces the other."""
    words_of = line.split()
    keys = {item.partition("=")[0] for item in options} - set(REPEATED)
    had = [] if words_of[2] == "-" else words_of[2].split(",")
    had = [item for item in had if item.partition("=")[0] not in keys]
    words_of[2] = ",".join(had + options) or "-"
    return " ".join(words_of)


def words(text):
    return [word for word in text.split("|") if word]


def compare(options, verdict):
    """(passed, reasons) of a run, against what the list expects of it."""
    expect = options.get("expect", "pass")
    allowed = set(words(options.get("allow", "")))
    classes = [name for name in verdict["classes"] if name not in allowed]
    reasons = verdict["reasons"] if classes else []
    if expect == "pass":
        if classes:
            return False, reasons
        if is_skipped(options, verdict):
            return True, []
        return compare_skips(options.get("skips", ""), verdict.get("skips", []))
    found = f"found: {'; '.join(reasons) if reasons else 'a good run'}"
    if expect.startswith("fail:"):
        failures = verdict.get("failures", [])
        must, may = words(expect[5:]), words(options.get("may-fail", ""))
        wrong = [f"expected 'not ok' of '{pattern}'; " + found for pattern in must
                 if not any(re.search(pattern, text) for text in failures)]
        wrong += [f"expected 'not ok' of '{expect[5:]}' only: {text}" for text in failures
                  if not any(re.search(pattern, text) for pattern in must + may)]
        if set(classes) - {"ktap_failed"}:
            wrong.append(f"expected nothing worse than 'not ok'; {found}")
        return not wrong, wrong
    if classes and classes[0] == expect and set(classes[1:]) <= COMPANIONS:
        return True, []
    return False, [f"expected '{expect}'; " + found]


def is_skipped(options, verdict):
    """Nothing ran, and the list doesn't say so: a pattern with ~ only allows it."""
    return verdict["skipped"] and all(pattern.startswith("~")
                                      for pattern in words(options.get("skips", "")))


def compare_skips(expected, skips):
    """The same for what a run skipped."""
    patterns = words(expected)
    known = [pattern.lstrip("~") for pattern in patterns] + PAGES_SKIPS.get(PAGES, [])
    wrong = [f"skipped, which the list does not say: {text}" for text in skips
             if not any(re.search(pattern, text) for pattern in known)]
    wrong += [f"not skipped, which the list says: {pattern}" for pattern in patterns
              if not pattern.startswith("~")
              and not any(re.search(pattern, text) for text in skips)]
    return not wrong, wrong


def never_rested(rundir, specs):
    """Those of the points at which no CPU has rested: the test was none."""
    rested = {}
    for line in lablib.read_text(os.path.join(rundir, "delay.report")).splitlines():
        name, _, _, _, count = line.split()
        rested[name] = rested.get(name, 0) + int(count)
    return [s for s in specs if not rested.get(s.split("=")[0])]


def kill_when_started(rundir, stop):
    """Canary: the emulator dies in the middle of a test."""
    while not stop.is_set():
        if "# boot " in lablib.read_text(os.path.join(rundir, "ktap.log")):
            pid = int(lablib.read_text(os.path.join(rundir, "qemu.pid")))
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.1)


def edit_tree(entry, rundir, artifacts):
    """Options of scripts/vm for the machine's own device tree, edited."""
    name = entry.options.get("tree")
    if not name:
        return []
    dump, tree = os.path.join(rundir, "dump"), os.path.join(rundir, "edited.dtb")
    own, said = lablib.dump_tree(["--show", "none", *entry.vm_args(dump, artifacts)], dump)
    if not own:
        die(f"{entry.name}: no device tree: {said.strip()}")
    status, errors = call([os.path.join(SCRIPTS, "check", "make-bad-dtb"), name, own, tree],
                          stderr=subprocess.PIPE)
    if status:
        die(f"{entry.name}: {errors.strip()}")
    return ["--dtb", tree]


def run_entry(entry, rundir, artifacts, show="none"):
    """Boot it. Returns (status, verdict), status one of pass, fail, skip, setup."""
    if entry.too_large():
        return "skip", {"reasons": [entry.too_large()], "seconds": 0}
    os.makedirs(rundir, exist_ok=True)
    stop = threading.Event()
    if "host-kill" in entry.flags:
        threading.Thread(target=kill_when_started, args=(rundir, stop), daemon=True).start()
    cmd = [os.path.join(SCRIPTS, "vm"), "--show", show,
           *entry.vm_args(rundir, artifacts), *edit_tree(entry, rundir, artifacts)]
    out = None if show != "none" else subprocess.PIPE
    try:
        _, errors = call(cmd, stdout=out, stderr=out)
    finally:
        stop.set()
    path = os.path.join(rundir, "verdict")
    if not os.path.exists(path):
        return "setup", {"reasons": errors.strip().splitlines()[-3:] or
                         ["nothing was run"], "classes": ["setup"], "seconds": 0}
    verdict = lablib.read_json(path)
    passed, reasons = compare(entry.options, verdict)
    says = entry.options.get("says")
    if passed and says and not re.search(says, lablib.read_text(os.path.join(rundir,
                                                                             "console.log"))):
        passed, reasons = False, [f"the console does not say '{says}'"]
    # Where there are no huge pages, a point in their faults is never met
    delays = [s for s in entry.repeated["delay"] if PAGES != "64k" or "_huge_" not in s]
    if passed and delays:
        reasons = [f"no CPU has rested at {s}" for s in never_rested(rundir, delays)]
        passed = not reasons
    verdict["reasons"] = reasons
    if passed and is_skipped(entry.options, verdict):
        return "skip", verdict
    if not passed:
        log = lablib.read_text(os.path.join(rundir, "ktap.log")).replace("\r", "")
        verdict["parts"] = Ktap(log).failed_parts()
    return ("pass" if passed else "fail"), verdict
