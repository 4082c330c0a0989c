#!/bin/sh
# Tells the lab that the node is up, or what is wrong with it.
if /lib/systemd/systemd-networkd-wait-online --interface=mgmt --timeout=45 2>/dev/null; then
  echo LAB-READY > /dev/ttyS0
  exit 0
fi
{
  ip -br address
  networkctl --no-pager --lines=0 status mgmt
  journalctl --no-pager -b -n 40 -u systemd-networkd -u systemd-udevd -u systemd-modules-load
  echo "LAB-FAILED: the management network did not come up"
} > /dev/ttyS0 2>&1
exit 1
