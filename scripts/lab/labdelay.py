# SPDX-License-Identifier: GPL-2.0
"""Where CPUs shall rest: names of points to what selftests/emulator/mts_delay.c reads.

A point is [module:]SYMBOL[+OFFSET][>CALLEE[+]]=MS[:PERCENT]

  SYMBOL          the entry of a function of the kernel, or of the module
  SYMBOL+OFFSET   the instruction at that offset of it
  SYMBOL>CALLEE   before each call of CALLEE in it
  SYMBOL>CALLEE+  after each call
  MS              for how long
  PERCENT         how often, at random (100)

Functions that the compiler has specialised (SYMBOL.isra.0) are found, too.
"""

import re
import struct

from lab.lablib import die

SPEC = re.compile(r"^(module:)?([\w.]+)(?:\+(0x[0-9a-f]+|\d+)|>([\w.]+)(\+)?)?=(\d+)(?::(\d+))?$")
NOP = 0xd503201f
R_CALLS = (282, 283)        # R_AARCH64_JUMP26, R_AARCH64_CALL26
STT_FUNC = 2


class Elf:
    """Functions of a kernel or module, with the places that aren't as in the file."""

    def __init__(self, path):
        with open(path, "rb") as stream:
            self.data = stream.read()
        if self.data[:6] != b"\x7fELF\x02\x01":
            die(f"{path} is no 64-bit ELF file")
        self.path = path
        kind, = struct.unpack_from("<H", self.data, 16)
        self.relocatable = kind == 1
        offset, = struct.unpack_from("<Q", self.data, 40)
        size, count, names = struct.unpack_from("<HHH", self.data, 58)
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", self.data, offset + i * size)
                         for i in range(count)]
        base = self.sections[names][4]
        self.names = [self.string(base + s[0]) for s in self.sections]
        self.symbols = []
        for section in self.sections:
            if section[1] == 2:         # SHT_SYMTAB
                strings = self.sections[section[6]][4]
                for at in range(section[4], section[4] + section[5], 24):
                    name, info, _, index, value, length = struct.unpack_from("<IBBHQQ",
                                                                             self.data, at)
                    self.symbols.append((self.string(strings + name), info & 15, index, value,
                                         length))

    def string(self, at):
        return self.data[at:self.data.index(b"\0", at)].decode()

    def relocations(self, target):
        """(offset, type, symbol, addend) for the section with this index."""
        for section in self.sections:
            if section[1] == 4 and section[7] == target:
                for at in range(section[4], section[4] + section[5], 24):
                    offset, info, addend = struct.unpack_from("<QQq", self.data, at)
                    yield offset, info & 0xffffffff, self.symbols[info >> 32], addend

    def functions(self, name):
        found = [s for s in self.symbols
                 if s[1] == STT_FUNC and (s[0] == name or s[0].startswith(name + "."))
                 and not s[0].endswith(".cold")]
        if not found:
            die(f"{self.path} has no function '{name}'")
        return found

    def words(self, symbol):
        _, _, index, value, length = symbol
        section = self.sections[index]
        start = section[4] + value - section[3]
        return list(struct.unpack_from(f"<{length // 4}I", self.data, start))

    def calls(self, symbol, callee):
        """Offsets of the instructions that call a function, or jump to it."""
        found = []
        words = self.words(symbol)
        if self.relocatable:
            for offset, kind, target, _ in self.relocations(symbol[2]):
                if kind in R_CALLS and target[0].split(".")[0] == callee and \
                   0 <= offset - symbol[3] < symbol[4]:
                    found.append(offset - symbol[3])
            return found
        targets = {s[3] for s in self.symbols if s[0].split(".")[0] == callee}
        for i, word in enumerate(words):
            if word >> 26 & 0x1f == 5:
                distance = (word & 0x3ffffff) - ((word & 0x2000000) << 1)
                if symbol[3] + (i + distance) * 4 in targets:
                    found.append(i * 4)
        return found

    def pattern(self, symbol):
        """The function's code as text, '-' for words that change when it is loaded."""
        _, _, index, value, length = symbol
        words = [f"{w:x}" if w != NOP else "-" for w in self.words(symbol)]

        def any_word(offset, count=1):
            for at in range(offset - value, offset - value + 4 * count, 4):
                if 0 <= at < length:
                    words[at // 4] = "-"

        for offset, _, _, _ in self.relocations(index):
            any_word(offset & ~3)
        for i, name in enumerate(self.names):
            for offset, _, target, addend in self.relocations(i):
                if target[2] != index:
                    continue
                if name == ".altinstructions" and offset % 12 == 0:
                    any_word(target[3] + addend, self.data[self.sections[i][4] + offset + 10] // 4)
                elif name == "__jump_table" and offset % 16 == 0:
                    any_word(target[3] + addend)
        return words


def points(specs, vmlinux, module):
    """The lines of the file that the plugin reads; MODULE is called for its path."""
    files = {}
    lines = []
    for spec in specs:
        match = SPEC.match(spec)
        if not match:
            die(f"bad delay '{spec}': wanted [module:]SYMBOL[+OFFSET][>CALLEE[+]]=MS[:PERCENT]")
        in_module, name, offset, callee, after, ms, percent = match.groups()
        if in_module not in files:
            files[in_module] = Elf(module() if in_module else vmlinux)
        elf = files[in_module]
        found = 0
        for symbol in elf.functions(name):
            if callee:
                offsets = [at + (4 if after else 0) for at in elf.calls(symbol, callee)]
            else:
                offsets = [int(offset or "0", 0)]
            for at in offsets:
                if at >= symbol[4]:
                    continue
                found += 1
                head = f"{spec.split('=')[0]} {ms} {percent or 100} "
                if elf.relocatable:
                    lines.append(head + f"{at} " + " ".join(elf.pattern(symbol)[:1024]))
                else:
                    lines.append(head + f"{symbol[3] + at:#x}")
        if not found:
            die(f"no such point: {spec}")
    return lines
