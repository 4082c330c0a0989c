//! Which link of the chain a problem is of.

use accelnet_model::Code;

/// The link that a problem of a VM breaks. What is of none in particular is of the change that was tried last, which
/// says what it was.
pub fn link_of(code: Code) -> &'static str {
    use Code::*;
    match code {
        BridgeNotFound
        | BridgeNotOurs
        | BridgeNotSupported
        | VmNoNicOnIntent
        | GetNetworkAdapterFailed => "switch",
        PolicyNotOffloadable | ReachabilityNotOffloadable | WaiverNotFound => "policy",
        AdapterLinkDown
        | AdapterIsolated
        | AdapterNotFound
        | AdapterNotUplink
        | SriovSupportUnknown
        | SriovSupportMissingPfDriver
        | SriovSupportNoBusResources
        | SriovSupportNoVfBarSpace
        | SriovSupportNoOsc
        | SpoofCheckUnsupported
        | EswitchNotSupported
        | VfMtuTooSmall => "adapter",
        NoFreeVf
        | VfQuarantined
        | VfCountNotPossible
        | VfsWaiting
        | VfInUseByOthers
        | VfsManagedElsewhere
        | CannotProvisionPerformance
        | TxRateNotPossible => "vf",
        SriovSupportMissingAcs | SriovSupportNoIommu | VfNotIsolated => "iommu_group",
        InterruptRemappingOff | VmMemoryNotPinnable => "vfio",
        VfAttachFailed
        | VfDetachFailed
        | VmNoFreeRootPort
        | VmMachineNotPcie
        | VmNeedsColdStart
        | VmDefinitionNotOurs
        | VmDefinitionNotChanged => "device",
        GuestWithoutFailover | GuestVfNotPaired | VmNicNotVirtio => "guest",
        _ => "change",
    }
}
