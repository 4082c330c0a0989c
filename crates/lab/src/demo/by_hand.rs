//! How long it takes until the guest is on its VF: with the product, and by hand.
//!
//! By hand means what an operator types without it: `ip link set … vf … mac`, `bridge fdb append`, and
//! `virsh attach-device`. Both are measured by the same watcher on the node, in turn: from the command
//! to the last frame that the guest sent by its tap, under traffic.

use anyhow::{Context, Result};

use super::{GUEST, INTENT, NODE, measure::median, product::Product, report::AttachTimes};
use crate::{lab::Lab, progress::Progress};

/// Times each.
const TIMES: u32 = 3;
/// The guest sends at most so many packets a second, so that the tap tells when it stops to.
const RATE_PPS: u32 = 100;

/// Prints how many milliseconds passed between `$1`, a command, and the guest's last frame by the tap.
const WATCHER: &str = "
count=/sys/class/net/$(virsh domiflist vm1 | awk '/br0/ {print $1}')/statistics/rx_packets
begun=$(date +%s%N); last=$begun; seen=$(cat $count)
attach > /dev/null & command=$!
while :; do
  now=$(date +%s%N); frames=$(cat $count)
  [ $frames = $seen ] || { seen=$frames; last=$now; }
  [ $((now - begun)) -lt 60000000000 ] || { echo 'the guest does not go to the VF' >&2; exit 1; }
  [ $((now - last)) -lt 1500000000 ] || [ $((now - begun)) -lt 3000000000 ] || break
  sleep 0.02
done
wait $command
echo $(((last - begun) / 1000000))
";

/// The same device name as the product's: QEMU takes no other for the same NIC once it has seen one.
/// The first VF is used by nobody while the guest is on its tap.
const BY_HAND: &str = "
mac=$(virsh domiflist vm1 | awk '/br0/ {print $5}')
address=$(basename $(readlink /sys/class/net/pf0/device/virtfn0))
alias=$(virsh dumpxml vm1 | sed -n \"/$mac/,/<\\\\/interface>/s/.*alias name='\\([^']*\\)'.*/\\1/p\")
attach() {
  bridge fdb append $mac dev pf0 self 2> /dev/null || true
  ip link set pf0 vf 0 mac $mac
  cat > /run/by-hand.xml <<X
<hostdev mode='subsystem' type='pci' managed='no'>
 <source><address domain='0x0000' bus='0x${address:5:2}' slot='0x${address:8:2}' function='0x${address:11:1}'/></source>
 <teaming type='transient' persistent='$alias'/>
 <alias name='ua-accelnet-${mac//:/}'/></hostdev>
X
  virsh -q attach-device vm1 /run/by-hand.xml --live
}
";

const BACK_BY_HAND: &str = "
virsh -q detach-device vm1 /run/by-hand.xml --live
timeout 30 sh -c 'while virsh dumpxml vm1 | grep -q \"<hostdev\"; do sleep 0.1; done'
ip link set pf0 vf 0 mac 00:00:00:00:00:00
";

/// Measures both, in turn, with as many packets a second as the node bears. The guest begins and ends on its
/// tap.
pub fn compare(
    lab: &Lab,
    product: &Product<'_>,
    bearable_pps: u32,
    progress: Progress,
) -> Result<AttachTimes> {
    progress.step("how long does it take to get a VM onto a VF, with accelnet and by hand?");
    let (mut with_product, mut by_hand) = (Vec::new(), Vec::new());
    let traffic = lab.start_probe(GUEST, RATE_PPS.min(bearable_pps))?;
    for _ in 0..TIMES {
        let enable = format!("attach() {{ accelnet vm enable {GUEST}; }}\n");
        with_product.push(watch(lab, &enable)?);
        product.text(&["vm", "disable", GUEST])?;
        // VMs keep what they have, and the agent does not put right what is done by hand.
        product.text(&["disable"])?;
        by_hand.push(watch(lab, BY_HAND)?);
        lab.script(NODE, BACK_BY_HAND)?;
        product.text(&["enable", "--intent", INTENT])?;
    }
    drop(traffic);
    let times = AttachTimes {
        accelnet_ms: median(with_product),
        by_hand_ms: median(by_hand),
    };
    progress.step(format!(
        "on the VF after {:.0} ms with accelnet, {:.0} ms by hand ({:.2}x)",
        times.accelnet_ms,
        times.by_hand_ms,
        times.accelnet_ms / times.by_hand_ms.max(1.0)
    ));
    Ok(times)
}

fn watch(lab: &Lab, attach: &str) -> Result<f64> {
    let script = format!(
        "cat > /run/attach.sh <<'END_OF_SCRIPT'\n{attach}{WATCHER}\nEND_OF_SCRIPT\nbash -eu /run/attach.sh\n"
    );
    let text = lab.script(NODE, &script)?;
    text.trim()
        .parse()
        .with_context(|| format!("the watcher printed no number: {text}"))
}
