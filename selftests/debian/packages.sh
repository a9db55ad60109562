#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The packages of "make debs": those that the guest was made with, the headers and
# DKMS's, and that all of them can be removed.

. ./lib.sh
. ./heap

release=$(uname -r)
modules=mte-tag-storage-modules-$release
export DEBIAN_FRONTEND=noninteractive
ktap_plan 16

installed() {
	for _package; do
		[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$_package")" = "ii " ] || return 1
	done
	# It says which files are not as they were packed; depmod's are written anew
	[ -z "$(dpkg -V "$@" | grep -v " /lib/modules/$release/modules\.[a-z.]*$" |
		tee /dev/stderr)" ]
}
check "kernel, module and tools are installed, and whole" \
	installed "linux-image-$release" "$modules" mte-tag-storage-tools
module_of() {
	[ "$(modinfo -F filename mte_tag_storage)" = "$1" ] && mts_loaded &&
		[ "$(modinfo -F version mte_tag_storage)" = "$(sysfs version)" ] &&
		[ "$(sysfs version)" = "$(dpkg-query -W -f '${Version}' mte-tag-storage-tools)" ]
}
check "the package's module was loaded at boot" \
	module_of "/lib/modules/$release/updates/mte_tag_storage.ko"
numbers() {
	mts_settle
	[ "$(sysfs carveout_bytes)" -gt 0 ] && [ "$(sysfs released_bytes)" -gt 0 ] &&
		[ $(($(sysfs static_bytes) + $(sysfs released_bytes) + $(sysfs reserved_bytes) + \
			$(sysfs bad_bytes))) = "$(sysfs carveout_bytes)" ]
}
check "its numbers are in sysfs" numbers
tools() {
	mts-ps && mts-textfile | grep -c '^mte_tag_storage_' && TERM=linux mts-top -n 1 | head -n 3 &&
		mts-plot --help >/dev/null
}
check "the tools run" tools

# In the place of hibernation: what requires the unit finds the module offline, and it
# is online again afterwards
unit=mte-tag-storage-offline.service
unit_runs() {
	cat >/run/systemd/system/mts-test.service <<-END || return 1
		[Unit]
		Requires=$unit
		After=$unit
		[Service]
		Type=oneshot
		ExecStart=/bin/sh -c 'cat $MTS_SYSFS/state >/run/mts-test'
	END
	rm -f /run/mts-test
	systemctl daemon-reload && systemctl start mts-test.service
	[ "$(cat /run/mts-test)" = "online [offline]" ]
}
is_online() {
	[ "$(sysfs state)" = "[online] offline" ]
}
check "the unit is enabled" systemctl is-enabled $unit
check "systemd starts it before what requires it: offline then" unit_runs
check "... and stops it: online again" wait_for 20 is_online

heads() {
	dpkg -i /lab/debs/linux-headers-*.deb && installed "linux-headers-$release" &&
		file_is_arm64 "/lib/modules/$release/build/scripts/mod/modpost"
}
# EM_AARCH64
file_is_arm64() {
	[ "$(od -An -tu2 -j18 -N2 "$1" | tr -d ' ')" = 183 ]
}
check "the headers are installed, with programs for this machine" heads
check "offline, and the module goes" eval "mts_offline && rmmod mte_tag_storage"
gone() {
	dpkg -P "$modules" && ! modinfo mte_tag_storage 2>/dev/null
}
check "its package is removed" gone
check "DKMS builds the module" dpkg -i /lab/debs/mte-tag-storage-dkms_*.deb
dkms_says() {
	dkms status mte-tag-storage | tee /dev/stderr |
		grep "$release.*: installed"
}
check "... and has it installed" dkms_says
check "modprobe loads it" modprobe mte_tag_storage
check "... it is the one of DKMS, and lends memory" eval \
	"module_of /lib/modules/$release/updates/dkms/mte_tag_storage.ko && numbers"
heap() {
	heap_is_tagged && sqlite_round 20000 && audit packages
}
check "a program on tagged heap, and every page is what it should be" heap
all_gone() {
	mts_offline && rmmod mte_tag_storage &&
		dpkg -P mte-tag-storage-dkms mte-tag-storage-tools "linux-headers-$release" &&
		[ -z "$(find "/lib/modules/$release" /usr/src /var/lib/dkms -name 'mte[-_]tag[-_]storage*' |
			tee /dev/stderr)" ]
}
check "all of it can be removed" all_gone
ktap_done
