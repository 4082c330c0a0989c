// SPDX-License-Identifier: GPL-2.0
/*
 * Takes back the echo of the lab's emulated card.
 *
 * A real 82576 never gives a pool back what it sent itself (DTXSWC.LLE is off). QEMU's igb gives every
 * broadcast and multicast frame that the PF sends to the PF as well, once VFs exist: its switch does not
 * know the sender. A bridge above would learn there that its own guests are on the wire.
 *
 * Frames for many that igb sends are noted by their addresses and length. One that the same device
 * receives, alike and soon after, is that frame: its source is made one that no bridge accepts
 * (br_handle_frame() drops a frame whose source is no valid address, before anything is learned). Each note
 * takes one frame away, so that a guest's own frame by its VF is not mistaken for another's echo.
 *
 * It is looked at where the driver asks for the frame's kind, before anybody above sees it, so that a bond
 * between adapter and bridge changes nothing.
 *
 * It lives in the lab's nodes only.
 */
#include <linux/etherdevice.h>
#include <linux/jiffies.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>

#define NOTES 256
#define LIFE (HZ / 2)

struct note {
	int ifindex;
	unsigned int length;
	unsigned long at;
	u8 to[ETH_ALEN];
	u8 from[ETH_ALEN];
};

static struct note notes[NOTES];
static unsigned int next;
static DEFINE_RAW_SPINLOCK(lock);

/* Shorter frames are padded on their way. */
static unsigned int length_of(unsigned int length)
{
	return max_t(unsigned int, length, ETH_ZLEN);
}

/* igb_xmit_frame(skb, netdev) */
static int sent(struct kprobe *probe, struct pt_regs *regs)
{
	struct sk_buff *skb = (struct sk_buff *)regs->di;
	struct net_device *dev = (struct net_device *)regs->si;
	struct ethhdr *eth = (struct ethhdr *)skb->data;
	unsigned long flags;
	struct note *note;

	if (skb_headlen(skb) < ETH_HLEN || !is_multicast_ether_addr(eth->h_dest))
		return 0;
	raw_spin_lock_irqsave(&lock, flags);
	note = &notes[next++ % NOTES];
	note->ifindex = dev->ifindex;
	note->length = length_of(skb->len);
	note->at = jiffies;
	ether_addr_copy(note->to, eth->h_dest);
	ether_addr_copy(note->from, eth->h_source);
	raw_spin_unlock_irqrestore(&lock, flags);
	return 0;
}

/* eth_type_trans(skb, netdev), where the data still begin with the frame's header */
static int comes(struct kprobe *probe, struct pt_regs *regs)
{
	struct sk_buff *skb = (struct sk_buff *)regs->di;
	struct net_device *dev = (struct net_device *)regs->si;
	struct ethhdr *eth = (struct ethhdr *)skb->data;
	unsigned int length = length_of(skb->len);
	unsigned long flags;
	unsigned int i;

	if (skb_headlen(skb) < ETH_HLEN || !is_multicast_ether_addr(eth->h_dest))
		return 0;
	raw_spin_lock_irqsave(&lock, flags);
	for (i = 0; i < NOTES; i++) {
		struct note *note = &notes[i];

		if (note->ifindex != dev->ifindex || note->length != length ||
		    time_after(jiffies, note->at + LIFE) ||
		    !ether_addr_equal(note->to, eth->h_dest) ||
		    !ether_addr_equal(note->from, eth->h_source))
			continue;
		note->ifindex = 0;
		eth_zero_addr(eth->h_source);
		break;
	}
	raw_spin_unlock_irqrestore(&lock, flags);
	return 0;
}

static struct kprobe on_sent = {
	.symbol_name = "igb_xmit_frame",
	.pre_handler = sent,
};

static struct kprobe on_coming = {
	.symbol_name = "eth_type_trans",
	.pre_handler = comes,
};

static int __init lab_echo_init(void)
{
	int error = register_kprobe(&on_sent);

	if (error)
		return error;
	error = register_kprobe(&on_coming);
	if (error)
		unregister_kprobe(&on_sent);
	return error;
}

static void __exit lab_echo_exit(void)
{
	unregister_kprobe(&on_coming);
	unregister_kprobe(&on_sent);
}

module_init(lab_echo_init);
module_exit(lab_echo_exit);
MODULE_DESCRIPTION("Takes back the echo of an emulated 82576");
MODULE_LICENSE("GPL");
