// SPDX-License-Identifier: GPL-2.0
/*
 * The vfio driver that is made for the VFs of lab_card: a "variant driver", as mlx5_vfio_pci is one for mlx5's.
 *
 * It is vfio-pci under another name. What matters is its alias, "vfio_pci:v0000ACCEd00000002…": who binds a VF for
 * assignment is to find it there (Documentation/driver-api/vfio-pci-device-specific-driver-acceptance.rst; kmod's
 * modules.alias).
 */
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_core.h>
#include <linux/version.h>

#include "lab_card.h"

static int open_device(struct vfio_device *core)
{
	struct vfio_pci_core_device *vdev = container_of(core, struct vfio_pci_core_device, vdev);
	int error = vfio_pci_core_enable(vdev);

	if (!error)
		vfio_pci_core_finish_enable(vdev);
	return error;
}

static const struct vfio_device_ops ops = {
	.name = "lab-card-vfio",
	.init = vfio_pci_core_init_dev,
	.release = vfio_pci_core_release_dev,
	.open_device = open_device,
	.close_device = vfio_pci_core_close_device,
	.ioctl = vfio_pci_core_ioctl,
	.device_feature = vfio_pci_core_ioctl_feature,
	.read = vfio_pci_core_read,
	.write = vfio_pci_core_write,
	.mmap = vfio_pci_core_mmap,
	.request = vfio_pci_core_request,
	.match = vfio_pci_core_match,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	.bind_iommufd = vfio_iommufd_physical_bind,
	.unbind_iommufd = vfio_iommufd_physical_unbind,
	.attach_ioas = vfio_iommufd_physical_attach_ioas,
	.detach_ioas = vfio_iommufd_physical_detach_ioas,
#endif
};

static int variant_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct vfio_pci_core_device *vdev;
	int error;

	vdev = vfio_alloc_device(vfio_pci_core_device, vdev, &pdev->dev, &ops);
	if (IS_ERR(vdev))
		return PTR_ERR(vdev);
	dev_set_drvdata(&pdev->dev, vdev);
	error = vfio_pci_core_register_device(vdev);
	if (error)
		vfio_put_device(&vdev->vdev);
	return error;
}

static void variant_remove(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *vdev = dev_get_drvdata(&pdev->dev);

	vfio_pci_core_unregister_device(vdev);
	vfio_put_device(&vdev->vdev);
}

static const struct pci_device_id ids[] = {
	{ PCI_DRIVER_OVERRIDE_DEVICE_VFIO(LAB_CARD_VENDOR, LAB_CARD_VF) },
	{ }
};
MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver variant = {
	.name = "lab_card_vfio",
	.id_table = ids,
	.probe = variant_probe,
	.remove = variant_remove,
	.err_handler = &vfio_pci_core_err_handlers,
	.driver_managed_dma = true,
};
module_pci_driver(variant);

MODULE_DESCRIPTION("vfio-pci for the VFs of lab_card");
MODULE_LICENSE("GPL");
