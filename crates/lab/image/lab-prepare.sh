#!/bin/sh
set -eu
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 lab /lab
mkdir -p /run/lab /run/systemd/network
install -m600 /lab/keys/host_key /run/lab/host_key
install -m600 /lab/keys/client_key.pub /run/lab/authorized_keys
# From node to node, too, nobody is asked for a password.
install -m600 /lab/keys/client_key /run/lab/client_key
install -m644 /lab/keys/known_hosts /run/lab/known_hosts
for word in $(cat /proc/cmdline); do
  case $word in
    lab.node=*) N=${word#lab.node=};;
    lab.nodes=*) NODES=${word#lab.nodes=};;
  esac
done
# Without one of its own, a bridge's address follows those of its ports.
cat > /run/systemd/network/20-br0.netdev <<X
[NetDev]
Name=br0
Kind=bridge
MACAddress=$(printf '52:54:00:dd:00:%02x' "$N")
[Bridge]
STP=no
ForwardDelaySec=0
X
cat > /run/systemd/network/30-br0.network <<X
[Match]
Name=br0
[Network]
Address=10.77.0.$((10+N))/24
Address=fd77::$((10+N))/64
IPv6AcceptRA=no
LinkLocalAddressing=ipv6
ConfigureWithoutCarrier=yes
X
printf '127.0.0.1 localhost\n::1 localhost\n' > /etc/hosts
if [ "$NODES" = 1 ]; then
  echo "127.0.1.1 node1 node1.lab" >> /etc/hosts
  exit 0
fi
# Nodes know each other by their addresses on the management network.
for n in $(seq "$NODES"); do
  echo "10.78.0.$((10+n)) node$n node$n.lab" >> /etc/hosts
done
# As on br0: a cable that comes out takes no address away.
cat > /run/systemd/network/20-cluster.network <<X
[Match]
Name=cluster
[Network]
Address=10.78.0.$((10+N))/24
IPv6AcceptRA=no
LinkLocalAddressing=no
ConfigureWithoutCarrier=yes
X
