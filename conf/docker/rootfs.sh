#!/bin/sh
# Makes the root file system of the image: rootfs.sh BINARY FOLDER
#
# It has the program, the libraries that it is linked with, and the certificates that channels are checked
# against: no shell, and nothing else to run.
set -eu
binary=$1 root=$2
certificates=/etc/ssl/certs/ca-certificates.crt

install -d "$root/etc/tollgate"
install -d -m 1777 "$root/tmp"
# Where a ledger in SQLite goes.
install -d -m 700 "$root/var/lib/tollgate"
install -D -m 755 "$binary" "$root/usr/bin/tollgate"
# The libraries and the loader, at the places that the program looks for them.
ldd "$binary" | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' >"$root/libraries"
[ -s "$root/libraries" ]
while read -r library; do
  install -D -m 755 "$library" "$root$library"
done <"$root/libraries"
rm "$root/libraries"
install -D -m 644 "$certificates" "$root$certificates"
echo 'tollgate:x:65532:65532:tollgate:/:/nonexistent' >"$root/etc/passwd"
echo 'tollgate:x:65532:' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
