#!/bin/sh
# A guest's only file system. Quiet: printing on an emulated console costs packets.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs t /tmp
echo 1 > /proc/sys/kernel/printk
for word in $(cat /proc/cmdline); do case $word in lab.*) eval "${word#lab.}";; esac; done
hostname "$NAME"
modprobe -a virtio_pci virtio_net vmw_vsock_virtio_transport
[ -n "$NOFAILOVER" ] || modprobe -a net_failover igbvf
ip link set lo up
# Without failover the NIC is eth0 too: net_failover makes its master the first device.
i=0
while [ ! -e /sys/class/net/eth0 ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done
echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
echo 0 > /proc/sys/net/ipv4/icmp_echo_ignore_broadcasts
if [ -e /sys/class/net/eth0 ]; then
  ip link set eth0 up
  ip addr add "10.77.0.$HOST/24" dev eth0
  ip -6 addr add "fd77::$HOST/64" dev eth0
  cut -d' ' -f1 /proc/uptime > /tmp/network-up
fi
while :; do /bin/accelnet-lab-guest serve; sleep 1; done
