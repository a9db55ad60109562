# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Shared helpers of the lab's scripts: cache directory, content hashes, locks,
# progress and packages. To be sourced by what is in scripts/ or in a folder of it.
#
# MTS_TOP    the checkout
# MTS_CACHE  everything the lab makes, each entry keyed by a hash of its inputs

MTS_TOP=$(cd "$(dirname "$0")" && pwd)
case $MTS_TOP in
*/scripts) MTS_TOP=${MTS_TOP%/scripts} ;;
*) MTS_TOP=${MTS_TOP%/scripts/*} ;;
esac
MTS_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/mte-tag-storage
MTS_JOBS=${MTS_JOBS:-$(nproc)}
MTS_CROSS=aarch64-linux-gnu-
export MTS_TOP MTS_CACHE

# Progress goes to stderr: stdout is for results that other programs read.
say() {
	printf '[%s] %s\n' "${0##*/}" "$*" >&2
}

die() {
	printf '[%s] error: %s\n' "${0##*/}" "$*" >&2
	exit 2
}

# run_logged LOG TEXT CMD...: run a long command with its output in LOG. Shows
# that it is alive every few seconds, and the end of LOG when it fails.
run_logged() {
	_log=$1
	_text=$2
	shift 2
	mkdir -p "$(dirname "$_log")"
	say "${MTS_STEP:+$MTS_STEP }$_text (log: $_log)"
	_t0=$(date +%s)
	# Without the lock's descriptor: a child that outlives us must not hold it.
	"$@" >"$_log" 2>&1 </dev/null 9>&- &
	_pid=$!
	trap 'kill "$_pid" 2>/dev/null; wait "$_pid" 2>/dev/null; exit 130' INT TERM HUP
	_n=0
	while kill -0 "$_pid" 2>/dev/null; do
		sleep 1
		_n=$((_n + 1))
		if [ $((_n % 15)) -eq 0 ]; then
			say "  ... ${_n} s: $(tail -n 1 "$_log" | cut -c1-70)"
		fi
	done
	_rc=0
	wait "$_pid" || _rc=$?
	trap - INT TERM HUP
	if [ "$_rc" -ne 0 ]; then
		tail -n 40 "$_log" >&2
		say "failed: $_text (status $_rc, full log: $_log)"
		return "$_rc"
	fi
	say "  done in $(($(date +%s) - _t0)) s"
}

# hash_files [PATH...]: one hash of the names and contents of files and trees.
# Names are relative to the checkout, so that every clone gets the same hash.
hash_files() {
	for _p in "$@"; do
		if [ -d "$_p" ]; then
			find "$_p" -type f ! -name '*.pyc' ! -name '*.swp'
		elif [ -e "$_p" ]; then
			printf '%s\n' "$_p"
		else
			printf 'absent: %s\n' "$_p"
		fi
	done | LC_ALL=C sort | while IFS= read -r _f; do
		printf '%s ' "${_f#"$MTS_TOP"/}"
		if [ -e "$_f" ]; then
			sha256sum <"$_f"
		else
			echo absent
		fi
	done | sha256sum | cut -c1-64
}

# hash_text: hash of stdin, short enough for a directory name.
hash_text() {
	sha256sum | cut -c1-16
}

# in_series QUEUE [needed|optional]: the patches of a series, in order: all, or
# those above or below its line "# optional". QUEUE is the directory it is in.
in_series() {
	awk -v want="${2:-all}" '
		BEGIN { part = "needed" }
		/^#[ \t]*optional[ \t]*$/ { part = "optional" }
		{ sub(/#.*/, ""); sub(/[ \t]+$/, "") }
		$0 != "" && (want == "all" || want == part)' "$1/series"
}

# take_lock NAME: one builder of NAME at a time; the lock goes when we exit.
take_lock() {
	mkdir -p "$MTS_CACHE/locks"
	exec 9>"$MTS_CACHE/locks/$1"
	if ! flock -n 9; then
		say "waiting for another run that builds $1"
		flock 9
	fi
}

drop_lock() {
	exec 9>&-
}

# tmp_dir NAME: a fresh directory beside its final place, for build-and-rename.
# What killed runs left behind is removed; the caller holds the lock for NAME.
tmp_dir() {
	mkdir -p "$(dirname "$MTS_CACHE/$1")"
	rm -rf "$MTS_CACHE/$1".tmp.*
	mktemp -d "$MTS_CACHE/$1.tmp.XXXXXX"
}

# before_build WHAT MIB: is there room for it? In a test nothing is built that its
# caller has not built before: a build takes the time of another, and is silent.
before_build() {
	[ -z "${MTS_ALL_BUILT:-}" ] ||
		die "$1 isn't built, and a test doesn't build it: scripts/test has to before, or the" \
			"checkout has changed since it began"
	mkdir -p "$MTS_CACHE/logs"
	find "$MTS_CACHE/logs" -type f -mtime +14 -exec rm -f '{}' +
	_free=$(df -Pk "$MTS_CACHE" | awk 'NR == 2 { print int($4 / 1024) }')
	[ "$_free" -ge "$2" ] ||
		die "no room for $1: it needs $2 MiB in $MTS_CACHE, there are $_free" \
			"(make clean removes all that can be built again)"
}

# new_run KIND [NAME]: a directory for what a run leaves. The last ones of each kind
# stay, and what has changed in the last two hours: it may be in progress.
new_run() {
	mkdir -p "$MTS_CACHE/runs"
	_keep=10
	[ "$1" != vm ] || _keep=40
	_run=$(mktemp -d "$MTS_CACHE/runs/$1-$(date +%Y%m%d-%H%M%S)-${2:+$2-}XXXXXX")
	find "$MTS_CACHE/runs" -mindepth 1 -maxdepth 1 -name "$1-[0-9]*-[0-9]*-*" \
		-printf '%T@ %p\n' | sort -rn | tail -n "+$((_keep + 1))" | cut -d ' ' -f 2- |
		while IFS= read -r _old; do
			[ -z "$(find "$_old" -maxdepth 0 -mmin +120)" ] || rm -rf "$_old"
		done
	chmod 755 "$_run"
	echo "$_run"
}

# keep_newest STAMP...: of builds of one kind the last MTS_KEEP stay. STAMP is the
# file that tells that a build is complete, in its directory; whoever uses it touches
# it. What was used in the last four hours stays, too, and what somebody has locked.
MTS_KEEP=3
keep_newest() {
	[ $# -gt $MTS_KEEP ] || return 0
	# shellcheck disable=SC2012 # no strange names
	ls -1t -- "$@" | tail -n "+$((MTS_KEEP + 1))" | {
		_n=0
		while IFS= read -r _stamp; do
			[ -n "$(find "$_stamp" -mmin +240 2>/dev/null)" ] || continue
			# shellcheck disable=SC2016 # the other shell's
			! flock -n -x "$_stamp" sh -c 'rm -f "$1" && rm -rf "${1%/*}"' sh "$_stamp" 9>&- ||
				_n=$((_n + 1))
		done
		[ "$_n" -eq 0 ] || say "$_n old builds like ${1%/*} are removed"
	}
}

# Debian 13 has some libraries under another name, which stands for the old one.
have_pkg() {
	for _name in "$1" "$1t64"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$_name" 2>/dev/null)" != installed ] ||
			return 0
	done
	return 1
}

# need_pkgs PKG...: install what is missing; touches nothing otherwise.
need_pkgs() {
	_missing=
	for _pkg in "$@"; do
		have_pkg "$_pkg" || _missing="$_missing $_pkg"
	done
	[ -n "$_missing" ] || return 0
	# Ubuntu has dpkg, and other packages
	{ command -v dpkg-query >/dev/null && [ "$(os_id)" = debian ]; } ||
		die "this is not Debian, whose sources of kernel and emulator the lab builds:" \
			"run it in a container or chroot of Debian 12 or 13. Wanted:$_missing"
	[ "$(id -u)" -eq 0 ] ||
		die "missing packages; as root: apt-get install --no-install-recommends$_missing"
	say "installing packages:$_missing"
	mkdir -p "$MTS_CACHE/locks"
	(
		flock 8
		export DEBIAN_FRONTEND=noninteractive
		# shellcheck disable=SC2086 # a list of words
		set -- $_missing
		# The package lists may be absent or too old; refresh only then.
		apt-get -qq -o DPkg::Lock::Timeout=600 install -y \
			--no-install-recommends "$@" </dev/null >&2 2>/dev/null || {
			apt-get -qq update >&2 &&
				apt-get -qq -o DPkg::Lock::Timeout=600 install -y \
					--no-install-recommends "$@" </dev/null >&2
		}
	) 8>"$MTS_CACHE/locks/apt" || die "could not install:$_missing"
}

# Packages of other suites than the machine's: apt with a state of its own in a
# directory, so that the machine's configuration isn't changed. Works without
# root. private_apt_setup DIR [ARCHITECTURE], private_apt_suite DIR TYPE SUITE for each
# suite, private_apt DIR update, and then what is wanted. Or arm64_packages.

DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# Debian's suites and repositories that the machine has, as "SUITE URI".
debian_suites() {
	# shellcheck disable=SC2016 # apt expands these
	apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' \
		'Created-By: Packages' | sed -n 's/^Debian //p' | sort -u
}

# Debian repositories of the machine that carry its own release.
debian_mirrors() {
	debian_suites | sed -n "s/^$(debian_codename) //p"
}

# MTS_OS_RELEASE is for tests
os_id() {
	# shellcheck source=/dev/null
	(. "${MTS_OS_RELEASE:-/etc/os-release}" && echo "${ID:-}")
}

debian_codename() {
	(. /etc/os-release && echo "$VERSION_CODENAME")
}

# Debian 13 has no dt-schema: nothing but lint's check of the binding needs it
dt_schema_package() {
	[ "$(debian_codename 2>/dev/null)" = trixie ] || echo dt-schema
}

private_apt_setup() {
	need_pkgs apt debian-archive-keyring
	_mirrors=$(debian_mirrors)
	if [ -z "$_mirrors" ] && [ "$(id -u)" -eq 0 ]; then
		apt-get -qq update >&2 || die "apt-get update failed"
		_mirrors=$(debian_mirrors)
	fi
	[ -n "$_mirrors" ] ||
		die "no Debian $(debian_codename) mirror among apt's sources (apt-get indextargets)"
	mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
	printf '%s\n' "$_mirrors" >"$1/mirrors"
	cat >"$1/apt.conf" <<-EOF
		Dir::Etc::SourceList "$1/lab.sources";
		Dir::Etc::SourceParts "/dev/null";
		Dir::State::Lists "$1/lists";
		Dir::Cache "$1/cache";
		Dir::Cache::pkgcache "";
		Dir::Cache::srcpkgcache "";
		APT::Sandbox::User "root";
		APT::Get::List-Cleanup "false";
		Acquire::Languages "none";
		Acquire::Retries "3";
	EOF
	# Another one than the machine's: nothing is installed of it
	[ -z "${2:-}" ] || cat >>"$1/apt.conf" <<-EOF
		APT::Architecture "$2";
		APT::Architectures:: "$2";
		Dir::State::status "/dev/null";
	EOF
}

# private_apt_all DIR ARCH: from all Debian suites that the machine has, to resolve what
# depends on what as if nothing were installed.
private_apt_all() {
	private_apt_setup "$1" "$2"
	mkdir -p "$1/state"
	: >"$1/state/status"
	cat >>"$1/apt.conf" <<-EOF
		Dir::State "$1/state";
		Dir::State::status "$1/state/status";
	EOF
	debian_suites | while read -r _suite _uri; do
		echo "$_uri" >"$1/mirrors"
		private_apt_suite "$1" deb "$_suite"
	done
}

# TYPE: deb or deb-src
private_apt_suite() {
	# What the lab takes from Debian 12's backports, Debian 13 has itself
	_suite=$3
	[ "$_suite" != trixie-backports ] || _suite=trixie
	while IFS= read -r _uri; do
		cat <<-EOF
			Types: $2
			URIs: $_uri
			Suites: $_suite
			Components: main
			Signed-By: $DEBIAN_KEYRING

		EOF
	done <"$1/mirrors" >>"$1/lab.sources"
}

private_apt() {
	_dir=$1
	shift
	apt-get -q -c "$_dir/apt.conf" "$@"
}

# arm64_packages DIR PACKAGE...: of the machine's own suite, unpacked in DIR/root;
# DIR/version has their names
arm64_packages() (
	_into=$1
	shift
	private_apt_setup "$_into/apt" arm64
	private_apt_suite "$_into/apt" deb "$(debian_codename)"
	cd "$_into" || exit 1
	private_apt "$_into/apt" update && private_apt "$_into/apt" download "$@" || exit 1
	for _deb in *.deb; do
		dpkg-deb -x "$_deb" root
		echo "$_deb"
	done >version
	rm -rf apt ./*.deb
)

# pkg_version PKG: version of an installed package.
pkg_version() {
	dpkg-query -W -f '${Version}' "$1" 2>/dev/null
}

# The compiler as the caches see it: its version with the package's revision.
compiler_id() {
	"${MTS_CROSS}gcc" --version | head -n 1
	"${MTS_CROSS}ld" --version | head -n 1
}

use_ccache() {
	export CCACHE_DIR="$MTS_CACHE/ccache"
	export CCACHE_MAXSIZE="${CCACHE_MAXSIZE:-5G}"
	# Build directories of all flavours share objects: see build/kernel.
	export CCACHE_NOHASHDIR=1
	export CCACHE_SLOPPINESS=include_file_mtime,include_file_ctime
}

# kernel_make SOURCE BUILD ARGUMENT...: make for a kernel. It runs in the background
# of run_logged: exec, so that a signal reaches make. It isn't part of the keys of kernels
kernel_make() {
	_source=$1
	_build=$2
	shift 2
	exec make -C "$_source" O="$_build" ARCH=arm64 CROSS_COMPILE="$MTS_CROSS" \
		CC="ccache ${MTS_CROSS}gcc" HOSTCC="ccache gcc" -j"$MTS_JOBS" "$@"
}

# kernel_configure SOURCE BUILD FRAGMENT...: the configuration that they add up to, in
# the background as well
kernel_configure() {
	cd "$1" || return
	_build=$2
	shift 2
	ARCH=arm64 CROSS_COMPILE=$MTS_CROSS \
		MAKEFLAGS="CC=ccache\ ${MTS_CROSS}gcc HOSTCC=ccache\ gcc" \
		./scripts/kconfig/merge_config.sh -n -O "$_build" "$@"
}

# Nothing of the host and the time gets into a kernel or a module.
fixed_build_env() {
	export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 2026'
	export KBUILD_BUILD_USER=lab KBUILD_BUILD_HOST=mte-tag-storage
	export KBUILD_BUILD_VERSION=1
	export SOURCE_DATE_EPOCH=1767225600
	export LC_ALL=C
}
