//! An emulated SR-IOV cluster on one machine.
//!
//! A *lab* is a set of QEMU machines ("nodes") with an emulated SR-IOV card each (Intel 82576, driver
//! igb), an IOMMU and nested KVM; inside them real libvirt runs real guests. Everything but the
//! card's silicon is real. The nodes' uplinks meet on a *wire*: a small switch in user space, so that
//! nothing on the machine's own network is touched and no privilege is needed to run a lab.
//!
//! | module | holds |
//! |---|---|
//! | [`image`] | kernel, node disk, guest's initial file system: built once, cached by checksum |
//! | [`lab`] | a lab's life: up, status, exec, cut, kill, start, down |
//! | [`wire`] | the switch and the host on it that runs one end of probes |
//! | [`probe`] | loss, order, delay of sequence-numbered traffic in both directions |
//! | [`guest`] | the protocol to the agent inside a guest |
//! | [`frame`] | a frame with a forged source, for tests |
//! | [`card`] | what the emulated card forgets, done on its behalf |
//! | [`demo`] | the story of a VM that moves to a VF and back, measured |

pub mod card;
pub mod demo;
pub mod frame;
pub mod guest;
pub mod image;
pub mod kvm;
pub mod lab;
pub mod paths;
pub mod probe;
pub mod progress;
pub mod qemu;
pub mod shell;
pub mod ssh;
pub mod wire;
