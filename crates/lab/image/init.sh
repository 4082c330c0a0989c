#!/bin/sh
# A node's initial file system: mounts the disk and hands over to systemd.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
$B modprobe -a virtio_pci virtio_blk crc32c_generic ext4
i=0
while [ ! -b /dev/vda ] && [ $i -lt 200 ]; do $B sleep 0.05; i=$((i+1)); done
$B mount -t ext4 -o noatime /dev/vda /newroot || { echo "LAB-FAILED: the disk cannot be mounted"; exec $B poweroff -f; }
$B umount /proc
$B mount --move /sys /newroot/sys
$B mount --move /dev /newroot/dev
exec $B switch_root /newroot /sbin/init
