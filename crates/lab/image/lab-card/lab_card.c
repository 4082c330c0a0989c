// SPDX-License-Identifier: GPL-2.0
/*
 * A card with many VFs that is not there.
 *
 * It answers in an empty slot of the node: a root port's bus gets configuration accesses of ours (as aer_inject
 * puts its own in between), and behind them is a configuration space in memory. What makes VFs of it is the
 * kernel's own SR-IOV code: capability, offset and stride, sriov_numvfs, virtfn links, IOMMU groups and resets are
 * those of a real card. It carries no frames: its registers are nowhere and it has no queues, so a guest cannot
 * use its VFs. What a VF carries (address, VLAN, rate, spoof check, trust, link state) is kept by the driver and
 * told by rtnetlink, as real drivers do.
 *
 * So that discovery, binding, counts and leaks can be seen with a hundred VFs, where the emulated card has seven.
 *
 * Sources: PCI Express Base Specification 5.0, 7.5.3 (PCI Express capability), 7.7.2 (MSI-X), 9.3.3 (SR-IOV).
 */
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/if_vlan.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/rtnetlink.h>

#include "lab_card.h"

/* Where VFs are: nothing else answers on the bus. */
#define FIRST_VF 8
#define SPACE PCI_CFG_SPACE_EXP_SIZE

/* Places of the capabilities; the first of the extended ones is at 0x100. */
#define EXPRESS 0x40
#define MSIX 0x80
#define SRIOV 0x100
#define MSIX_VECTORS 5

static char *port = "0000:00:18.0";
module_param(port, charp, 0444);
MODULE_PARM_DESC(port, "PCI address of the root port that has nothing behind it");

static unsigned int vfs = 128;
module_param(vfs, uint, 0444);
MODULE_PARM_DESC(vfs, "VFs that the card can have (TotalVFs), 1 to 240");

/* What it says to have counted: it carries no frames. */
static ulong vf_sent;
module_param(vf_sent, ulong, 0644);
MODULE_PARM_DESC(vf_sent, "packets that each VF has sent");
static ulong port_sent;
module_param(port_sent, ulong, 0644);
MODULE_PARM_DESC(port_sent, "packets that have left by the port");

struct vf {
	u8 mac[ETH_ALEN];
	u16 vlan;
	u8 qos;
	bool spoofchk;
	bool trusted;
	int link;
	int min_rate;
	int max_rate;
};

struct card {
	struct vf *vfs;
};

static u8 pf_space[SPACE];
/* VFs are alike; only what is written to one of them differs, and nothing here depends on it. */
static u8 (*vf_spaces)[SPACE];
static struct pci_dev *slot;
static struct pci_ops *slots_own;

static void put16(u8 *space, int at, u16 value)
{
	put_unaligned_le16(value, space + at);
}

static void put32(u8 *space, int at, u32 value)
{
	put_unaligned_le32(value, space + at);
}

/* What PF and VFs have in common. */
static void fill(u8 *space)
{
	put16(space, PCI_STATUS, PCI_STATUS_CAP_LIST);
	put16(space, PCI_CLASS_DEVICE, PCI_CLASS_NETWORK_ETHERNET);
	space[PCI_CAPABILITY_LIST] = EXPRESS;

	space[EXPRESS] = PCI_CAP_ID_EXP;
	space[EXPRESS + 1] = MSIX;
	put16(space, EXPRESS + PCI_EXP_FLAGS, 2 | PCI_EXP_TYPE_ENDPOINT << 4);
	put32(space, EXPRESS + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_FLR | PCI_EXP_DEVCAP_RBER);
	/* One lane at 2.5 GT/s. */
	put32(space, EXPRESS + PCI_EXP_LNKCAP, PCI_EXP_LNKCAP_SLS_2_5GB | 1 << 4);
	put16(space, EXPRESS + PCI_EXP_LNKSTA, PCI_EXP_LNKSTA_CLS_2_5GB | PCI_EXP_LNKSTA_NLW_X1);

	space[MSIX] = PCI_CAP_ID_MSIX;
	put16(space, MSIX + PCI_MSIX_FLAGS, MSIX_VECTORS - 1);
}

static void make_spaces(void)
{
	unsigned int i;

	fill(pf_space);
	put16(pf_space, PCI_VENDOR_ID, LAB_CARD_VENDOR);
	put16(pf_space, PCI_DEVICE_ID, LAB_CARD_PF);
	put32(pf_space, SRIOV, PCI_EXT_CAP_ID_SRIOV | 1 << 16);
	put16(pf_space, SRIOV + PCI_SRIOV_INITIAL_VF, vfs);
	put16(pf_space, SRIOV + PCI_SRIOV_TOTAL_VF, vfs);
	put16(pf_space, SRIOV + PCI_SRIOV_VF_OFFSET, FIRST_VF);
	put16(pf_space, SRIOV + PCI_SRIOV_VF_STRIDE, 1);
	put16(pf_space, SRIOV + PCI_SRIOV_VF_DID, LAB_CARD_VF);
	put32(pf_space, SRIOV + PCI_SRIOV_SUP_PGSIZE, 1);
	for (i = 0; i < vfs; i++) {
		fill(vf_spaces[i]);
		/* A VF says no vendor and no device of its own (9.3.4.1.1). */
		put16(vf_spaces[i], PCI_VENDOR_ID, 0xffff);
		put16(vf_spaces[i], PCI_DEVICE_ID, 0xffff);
	}
}

/* The space of what answers at this place; VFs do while they are enabled. */
static u8 *space_of(unsigned int devfn)
{
	u16 control = get_unaligned_le16(pf_space + SRIOV + PCI_SRIOV_CTRL);
	u16 made = get_unaligned_le16(pf_space + SRIOV + PCI_SRIOV_NUM_VF);

	if (devfn == 0)
		return pf_space;
	if (control & PCI_SRIOV_CTRL_VFE && devfn >= FIRST_VF && devfn < FIRST_VF + made)
		return vf_spaces[devfn - FIRST_VF];
	return NULL;
}

static int card_read(struct pci_bus *on, unsigned int devfn, int where, int size, u32 *value)
{
	u8 *space = space_of(devfn);

	*value = ~0;
	if (!space)
		return PCIBIOS_DEVICE_NOT_FOUND;
	if (where + size > SPACE)
		return PCIBIOS_BAD_REGISTER_NUMBER;
	*value = 0;
	memcpy(value, space + where, size);
	return PCIBIOS_SUCCESSFUL;
}

/* The bits of a byte that software may write; all others are read-only, as base addresses that are not there are. */
static u8 writable(u8 *space, int where)
{
	switch (where) {
	case PCI_COMMAND:
	case PCI_COMMAND + 1:
	case PCI_CACHE_LINE_SIZE:
	case PCI_LATENCY_TIMER:
	case PCI_INTERRUPT_LINE:
	/* In the next byte is the bit that asks for a reset; it reads as 0, and the reset is over at once. */
	case EXPRESS + PCI_EXP_DEVCTL:
	case MSIX + PCI_MSIX_FLAGS + 1:
		return 0xff;
	case SRIOV + PCI_SRIOV_CTRL:
	case SRIOV + PCI_SRIOV_NUM_VF:
	case SRIOV + PCI_SRIOV_NUM_VF + 1:
	case SRIOV + PCI_SRIOV_SYS_PGSIZE:
	/* A VF has 4 KiB of memory. */
	case SRIOV + PCI_SRIOV_BAR + 2:
	case SRIOV + PCI_SRIOV_BAR + 3:
		return space == pf_space ? 0xff : 0;
	case SRIOV + PCI_SRIOV_BAR + 1:
		return space == pf_space ? 0xf0 : 0;
	default:
		return 0;
	}
}

static int card_write(struct pci_bus *on, unsigned int devfn, int where, int size, u32 value)
{
	u8 *space = space_of(devfn);
	int i;

	if (!space)
		return PCIBIOS_DEVICE_NOT_FOUND;
	if (where + size > SPACE)
		return PCIBIOS_BAD_REGISTER_NUMBER;
	for (i = 0; i < size; i++, value >>= 8) {
		u8 bits = writable(space, where + i);

		space[where + i] = (space[where + i] & ~bits) | (value & bits);
	}
	return PCIBIOS_SUCCESSFUL;
}

static struct pci_ops card_ops = {
	.read = card_read,
	.write = card_write,
};

static struct vf *vf_of(struct net_device *dev, int vf)
{
	struct card *card = netdev_priv(dev);
	int made = pci_num_vf(to_pci_dev(dev->dev.parent));

	return vf >= 0 && vf < made ? &card->vfs[vf] : NULL;
}

static netdev_tx_t card_xmit(struct sk_buff *skb, struct net_device *dev)
{
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}

static int set_mac(struct net_device *dev, int number, u8 *mac)
{
	struct vf *vf = vf_of(dev, number);

	if (!vf || is_multicast_ether_addr(mac))
		return -EINVAL;
	ether_addr_copy(vf->mac, mac);
	return 0;
}

static int set_vlan(struct net_device *dev, int number, u16 vlan, u8 qos, __be16 proto)
{
	struct vf *vf = vf_of(dev, number);

	if (!vf || vlan >= VLAN_N_VID || qos > 7)
		return -EINVAL;
	if (proto != htons(ETH_P_8021Q))
		return -EPROTONOSUPPORT;
	vf->vlan = vlan;
	vf->qos = qos;
	return 0;
}

static int set_rate(struct net_device *dev, int number, int min, int max)
{
	struct vf *vf = vf_of(dev, number);

	if (!vf)
		return -EINVAL;
	vf->min_rate = min;
	vf->max_rate = max;
	return 0;
}

static int set_spoofchk(struct net_device *dev, int number, bool on)
{
	struct vf *vf = vf_of(dev, number);

	if (!vf)
		return -EINVAL;
	vf->spoofchk = on;
	return 0;
}

static int set_trust(struct net_device *dev, int number, bool on)
{
	struct vf *vf = vf_of(dev, number);

	if (!vf)
		return -EINVAL;
	vf->trusted = on;
	return 0;
}

static int set_link(struct net_device *dev, int number, int state)
{
	struct vf *vf = vf_of(dev, number);

	if (!vf)
		return -EINVAL;
	vf->link = state;
	return 0;
}

static int get_config(struct net_device *dev, int number, struct ifla_vf_info *info)
{
	struct vf *vf = vf_of(dev, number);

	if (!vf)
		return -EINVAL;
	info->vf = number;
	ether_addr_copy(info->mac, vf->mac);
	info->vlan = vf->vlan;
	info->qos = vf->qos;
	info->vlan_proto = htons(ETH_P_8021Q);
	info->spoofchk = vf->spoofchk;
	info->trusted = vf->trusted;
	info->linkstate = vf->link;
	info->min_tx_rate = vf->min_rate;
	info->max_tx_rate = vf->max_rate;
	return 0;
}

static int get_stats(struct net_device *dev, int number, struct ifla_vf_stats *stats)
{
	if (!vf_of(dev, number))
		return -EINVAL;
	*stats = (struct ifla_vf_stats){ .tx_packets = vf_sent };
	return 0;
}

static void get_port_stats(struct net_device *dev, struct ethtool_eth_mac_stats *stats)
{
	stats->FramesTransmittedOK = port_sent;
	stats->FramesReceivedOK = 0;
}

static const struct ethtool_ops ethtool_ops = {
	.get_eth_mac_stats = get_port_stats,
};

/* Its filter has no bounds: it filters nothing. */
static void set_rx_mode(struct net_device *dev)
{
}

static const struct net_device_ops netdev_ops = {
	.ndo_start_xmit = card_xmit,
	.ndo_set_rx_mode = set_rx_mode,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_set_vf_mac = set_mac,
	.ndo_set_vf_vlan = set_vlan,
	.ndo_set_vf_rate = set_rate,
	.ndo_set_vf_spoofchk = set_spoofchk,
	.ndo_set_vf_trust = set_trust,
	.ndo_set_vf_link_state = set_link,
	.ndo_get_vf_config = get_config,
	.ndo_get_vf_stats = get_stats,
};

static int card_sriov_configure(struct pci_dev *pdev, int count)
{
	struct card *card = netdev_priv(pci_get_drvdata(pdev));
	int error, i;

	if (!count) {
		/* As drivers do: what a VM has is not taken from it. */
		if (pci_vfs_assigned(pdev))
			return -EPERM;
		pci_disable_sriov(pdev);
		return 0;
	}
	for (i = 0; i < count; i++)
		card->vfs[i] = (struct vf){ .spoofchk = true };
	error = pci_enable_sriov(pdev, count);
	return error ? error : count;
}

static int card_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int error = pcim_enable_device(pdev);
	struct net_device *dev;
	struct card *card;

	if (error)
		return error;
	dev = alloc_etherdev(sizeof(*card));
	if (!dev)
		return -ENOMEM;
	card = netdev_priv(dev);
	card->vfs = devm_kcalloc(&pdev->dev, vfs, sizeof(*card->vfs), GFP_KERNEL);
	error = card->vfs ? 0 : -ENOMEM;
	if (error)
		goto out;
	SET_NETDEV_DEV(dev, &pdev->dev);
	dev->netdev_ops = &netdev_ops;
	dev->ethtool_ops = &ethtool_ops;
	dev->priv_flags |= IFF_UNICAST_FLT;
	eth_hw_addr_random(dev);
	pci_set_drvdata(pdev, dev);
	error = register_netdev(dev);
	if (error)
		goto out;
	netif_carrier_on(dev);
	return 0;
out:
	free_netdev(dev);
	return error;
}

static void card_remove(struct pci_dev *pdev)
{
	struct net_device *dev = pci_get_drvdata(pdev);

	pci_disable_sriov(pdev);
	unregister_netdev(dev);
	free_netdev(dev);
}

static const struct pci_device_id ids[] = {
	{ PCI_DEVICE(LAB_CARD_VENDOR, LAB_CARD_PF) },
	{ }
};
MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver driver = {
	.name = "lab_card",
	.id_table = ids,
	.probe = card_probe,
	.remove = card_remove,
	.sriov_configure = card_sriov_configure,
};

/* The root port at the address that was given, if nothing is behind it. */
static struct pci_dev *find_slot(void)
{
	unsigned int domain, bus, device, function;
	struct pci_dev *found;

	if (sscanf(port, "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4)
		return ERR_PTR(-EINVAL);
	found = pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(device, function));
	if (found && found->subordinate && list_empty(&found->subordinate->devices))
		return found;
	pci_dev_put(found);
	return ERR_PTR(-ENODEV);
}

static int __init lab_card_init(void)
{
	int error;

	if (!vfs || vfs > 240)
		return -EINVAL;
	slot = find_slot();
	if (IS_ERR(slot))
		return PTR_ERR(slot);
	vf_spaces = kvcalloc(vfs, SPACE, GFP_KERNEL);
	error = vf_spaces ? 0 : -ENOMEM;
	if (error)
		goto out;
	make_spaces();
	error = pci_register_driver(&driver);
	if (error)
		goto out;
	slots_own = pci_bus_set_ops(slot->subordinate, &card_ops);
	pci_lock_rescan_remove();
	pci_rescan_bus(slot->subordinate);
	pci_unlock_rescan_remove();
	return 0;
out:
	kvfree(vf_spaces);
	pci_dev_put(slot);
	return error;
}

static void __exit lab_card_exit(void)
{
	struct pci_dev *pf = pci_get_slot(slot->subordinate, 0);

	if (pf)
		pci_stop_and_remove_bus_device_locked(pf);
	pci_dev_put(pf);
	pci_bus_set_ops(slot->subordinate, slots_own);
	pci_unregister_driver(&driver);
	pci_dev_put(slot);
	kvfree(vf_spaces);
}

module_init(lab_card_init);
module_exit(lab_card_exit);
MODULE_DESCRIPTION("A card with many VFs that carries no frames");
MODULE_LICENSE("GPL");
