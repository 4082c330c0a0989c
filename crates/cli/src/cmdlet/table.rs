//! The cmdlets: names, parameters, help and examples in one table, from which parsing, help and the
//! reference page are made.

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One text.
    Text,
    /// Names, several separated by commas.
    Names,
    /// Low, Medium or High.
    Level,
    /// A whole number; left out, the default.
    Percentage,
    /// Nothing.
    Switch,
    /// What becomes of errors.
    ErrorAction,
}

/// Whether a parameter has to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It may be left out.
    Optional,
    /// It must be given.
    Mandatory,
    /// It must be given, or objects come through a pipe.
    OrPipeline,
}

/// A parameter.
#[derive(Debug)]
pub struct Parameter {
    /// Its name as documented.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// What it takes.
    pub kind: Kind,
    /// Its place among words without a name, as the reference numbers them.
    pub position: Option<u8>,
    /// Whether it has to be given.
    pub need: Need,
    /// What it says.
    pub help: &'static str,
}

/// What a cmdlet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Prerequisite checks.
    CheckPrerequisites,
    /// Enable management.
    EnableManagement,
    /// Change management.
    SetManagement,
    /// The enabled intent.
    ShowManagement,
    /// Disable management.
    DisableManagement,
    /// Accelerate VMs.
    EnableVm,
    /// Change VMs' level.
    SetVm,
    /// Bring VMs back.
    DisableVm,
    /// Accelerated VMs.
    ListAccelerated,
    /// NICs on the enabled intent's bridge.
    ListNics,
    /// All VMs.
    ListVms,
    /// See that SR-IOV can be used.
    EnableSriov,
    /// Adapters.
    ListSriov,
    /// VFs.
    ListVfs,
    /// Intents on nodes.
    ListIntents,
}

/// A cmdlet.
#[derive(Debug)]
pub struct Cmdlet {
    /// Its name as documented.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub does: &'static str,
    /// What it prints.
    pub prints: &'static str,
    /// Its own parameters.
    pub parameters: &'static [Parameter],
    /// VMs may come through a pipe.
    pub piped: bool,
    /// Command lines.
    pub examples: &'static [&'static str],
    /// What it does.
    pub action: Action,
}

const fn parameter(
    name: &'static str,
    kind: Kind,
    position: Option<u8>,
    need: Need,
    help: &'static str,
) -> Parameter {
    Parameter {
        name,
        aliases: &[],
        kind,
        position,
        need,
        help,
    }
}

const fn vm_name(need: Need) -> Parameter {
    let help = "Names, patterns with * and ?, or UUIDs; several separated by commas.";
    parameter("VMName", Kind::Names, Some(1), need, help)
}

const fn vm(position: u8) -> Parameter {
    let help = "The same, also from the pipeline: objects of another cmdlet, or a name a line.";
    parameter("VM", Kind::Names, Some(position), Need::Optional, help)
}

const fn performance(position: Option<u8>, need: Need) -> Parameter {
    let help = "Low, Medium or High.";
    parameter("Performance", Kind::Level, position, need, help)
}

const fn adapter_name() -> Parameter {
    let help = "Interface names, patterns with * and ?, PCI or permanent addresses; several separated by commas.";
    parameter("Name", Kind::Names, Some(1), Need::Optional, help)
}

const fn switch(name: &'static str, help: &'static str) -> Parameter {
    parameter(name, Kind::Switch, None, Need::Optional, help)
}

const fn hidden() -> Parameter {
    switch(
        "IncludeHidden",
        "Taken, and without effect: nothing is hidden.",
    )
}

/// Parameters that every cmdlet takes.
pub const COMMON: &[Parameter] = &[
    Parameter {
        aliases: &["vb"],
        ..parameter(
            "Verbose",
            Kind::Switch,
            None,
            Need::Optional,
            "Say on standard error what is done.",
        )
    },
    Parameter {
        aliases: &["ea"],
        ..parameter(
            "ErrorAction",
            Kind::ErrorAction,
            None,
            Need::Optional,
            "Continue (the default): say errors and go on. Stop: end at the first one. \
             SilentlyContinue, Ignore: go on and say nothing. The exit code tells in any case.",
        )
    },
    Parameter {
        aliases: &["wi"],
        ..parameter(
            "WhatIf",
            Kind::Switch,
            None,
            Need::Optional,
            "Say what would be done, and change nothing.",
        )
    },
    Parameter {
        aliases: &["cf"],
        ..parameter(
            "Confirm",
            Kind::Switch,
            None,
            Need::Optional,
            "Ask on the terminal first. -Confirm:$false is the default.",
        )
    },
    Parameter {
        aliases: &["?", "h"],
        ..parameter("Help", Kind::Switch, None, Need::Optional, "Print this.")
    },
];

/// Every cmdlet.
pub const CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Get-AccelNetManagementPreReq",
        does: "Checks what accelerated networking needs: the nodes and, with an intent, also the intent and its adapters.",
        prints: "An object for each check: Passed, Message, Check, Node, Adapter, Severity, and of a failed one Code and Cure. The exit code is 3 if one failed that keeps acceleration from being enabled.",
        parameters: &[parameter(
            "IntentName",
            Kind::Text,
            Some(0),
            Need::Optional,
            "Also check this intent.",
        )],
        piped: false,
        examples: &[
            "Get-AccelNetManagementPreReq",
            "Get-AccelNetManagementPreReq -IntentName compute",
        ],
        action: Action::CheckPrerequisites,
    },
    Cmdlet {
        name: "Enable-AccelNetManagement",
        does: "Enables accelerated networking for a compute intent.",
        prints: "True or False. What nodes still wait for is said on standard error.",
        parameters: &[
            parameter(
                "IntentName",
                Kind::Text,
                Some(1),
                Need::Mandatory,
                "The compute intent.",
            ),
            parameter(
                "NodeReservePercentage",
                Kind::Percentage,
                Some(2),
                Need::Optional,
                "Percentage of nodes that may be down at once, 0 to 99. Left out, or without a value: 50.",
            ),
        ],
        piped: false,
        examples: &[
            "Enable-AccelNetManagement -IntentName compute -NodeReservePercentage 50",
            "Enable-AccelNetManagement -IntentName compute -NodeReservePercentage",
            "Enable-AccelNetManagement compute 25 -WhatIf",
        ],
        action: Action::EnableManagement,
    },
    Cmdlet {
        name: "Set-AccelNetManagement",
        does: "Changes intent or reserve of accelerated networking; another intent takes the place of the present one. With -VMName and -Performance it changes the level of VMs.",
        prints: "True or False.",
        parameters: &[
            parameter(
                "IntentName",
                Kind::Text,
                Some(1),
                Need::Optional,
                "Another compute intent; the present one is disabled.",
            ),
            parameter(
                "NodeReservePercentage",
                Kind::Percentage,
                Some(2),
                Need::Optional,
                "Percentage of nodes that may be down at once, 0 to 99. Left out, or without a value, it stays.",
            ),
            parameter(
                "VMName",
                Kind::Names,
                None,
                Need::Optional,
                "VMs whose level is changed, as Set-AccelNetVM does it.",
            ),
            performance(None, Need::Optional),
        ],
        piped: false,
        examples: &[
            "Set-AccelNetManagement -IntentName compute2 -NodeReservePercentage 25",
            "Set-AccelNetManagement -NodeReservePercentage 10",
            "Set-AccelNetManagement -VMName MyVM01 -Performance High",
        ],
        action: Action::SetManagement,
    },
    Cmdlet {
        name: "Get-AccelNetManagement",
        does: "Tells the intent that accelerated networking is enabled on.",
        prints: "Its name; nothing if it is not enabled.",
        parameters: &[],
        piped: false,
        examples: &["Get-AccelNetManagement"],
        action: Action::ShowManagement,
    },
    Cmdlet {
        name: "Disable-AccelNetManagement",
        does: "Stops managing accelerated networking. VMs keep their VFs and settings.",
        prints: "Nothing.",
        parameters: &[],
        piped: false,
        examples: &[
            "Disable-AccelNetManagement",
            "Disable-AccelNetManagement -Confirm:$false",
        ],
        action: Action::DisableManagement,
    },
    Cmdlet {
        name: "Enable-AccelNetVM",
        does: "Accelerates running VMs on any node, or changes their level.",
        prints: "An object for each VM that is accelerated then, as Get-AccelNetVM.",
        parameters: &[
            vm_name(Need::OrPipeline),
            performance(Some(2), Need::Mandatory),
            vm(3),
            parameter(
                "AddAdapter",
                Kind::Switch,
                None,
                Need::Optional,
                "VMs without NIC on the intent's switch get one, from their next cold start on if there is no room for it while they run.",
            ),
        ],
        piped: true,
        examples: &[
            "Enable-AccelNetVM -VMName MyVM01 -Performance Medium",
            "Enable-AccelNetVM MyVM01, MyVM02 High",
            "Enable-AccelNetVM MyVM01 Low -AddAdapter",
            "Get-VM -VMName \"MyVM01, MyVM02\" | Enable-AccelNetVM -Performance Low",
        ],
        action: Action::EnableVm,
    },
    Cmdlet {
        name: "Set-AccelNetVM",
        does: "Changes the level of accelerated VMs.",
        prints: "An object for each VM that has the level then, as Get-AccelNetVM.",
        parameters: &[
            vm_name(Need::OrPipeline),
            performance(Some(2), Need::Mandatory),
            vm(3),
        ],
        piped: true,
        examples: &[
            "Set-AccelNetVM -VMName MyVM01 -Performance High",
            "Get-AccelNetVM | Set-AccelNetVM -Performance Low",
        ],
        action: Action::SetVm,
    },
    Cmdlet {
        name: "Disable-AccelNetVM",
        does: "Brings VMs back to the software switch and takes their VFs back clean.",
        prints: "Nothing.",
        parameters: &[vm_name(Need::OrPipeline), vm(2)],
        piped: true,
        examples: &[
            "Disable-AccelNetVM -VMName MyVM01",
            "Get-VM -VMName \"MyVM01, MyVM02\" | Disable-AccelNetVM",
        ],
        action: Action::DisableVm,
    },
    Cmdlet {
        name: "Get-AccelNetVM",
        does: "Lists accelerated VMs, all of them if none is named.",
        prints: "An object for each: VMName, Id, ComputerName, State, Performance (wanted), Path (in use: vf, synthetic, none, or mixed), Problems.",
        parameters: &[vm_name(Need::Optional), vm(2)],
        piped: true,
        examples: &["Get-AccelNetVM", "Get-AccelNetVM -VMName MyVM01"],
        action: Action::ListAccelerated,
    },
    Cmdlet {
        name: "Get-VMAdaptersConnectedToEnabledIntentSwitch",
        does: "Lists VMs' NICs on the bridge of the enabled intent.",
        prints: "An object for each: VMName, VMId, ComputerName, MacAddress, SwitchName, Path (in use), AdapterName, Vf.",
        parameters: &[vm_name(Need::Optional), vm(2)],
        piped: true,
        examples: &[
            "Get-VMAdaptersConnectedToEnabledIntentSwitch -VMName MyVM01",
            "Get-VM -VMName MyVM01 | Get-VMAdaptersConnectedToEnabledIntentSwitch",
        ],
        action: Action::ListNics,
    },
    Cmdlet {
        name: "Get-VM",
        does: "Lists VMs, all of them if none is named.",
        prints: "An object for each: VMName, Name, Id, State, ComputerName, ProcessorCount.",
        parameters: &[Parameter {
            aliases: &["Name"],
            ..vm_name(Need::Optional)
        }],
        piped: false,
        examples: &[
            "Get-VM",
            "Get-VM -VMName \"MyVM01, MyVM02\"",
            "Get-VM 'web*'",
        ],
        action: Action::ListVms,
    },
    Cmdlet {
        name: "Enable-NetAdapterSriov",
        does: "Says whether SR-IOV can be used on adapters and when their VFs are made. It changes nothing: VFs are made by Enable-AccelNetManagement.",
        prints: "An object for each adapter as Get-NetAdapterSriov, with a Message. An adapter that cannot do SR-IOV is an error with its cause and cure. Without a name: the adapters of all intents or, without intents, all that can do SR-IOV.",
        parameters: &[
            adapter_name(),
            switch(
                "NoRestart",
                "Taken, and without effect: no adapter is restarted in any case.",
            ),
            switch(
                "PassThru",
                "Taken, and without effect: objects are printed in any case.",
            ),
        ],
        piped: false,
        examples: &[
            "Enable-NetAdapterSriov",
            "Enable-NetAdapterSriov -Name eth2",
        ],
        action: Action::EnableSriov,
    },
    Cmdlet {
        name: "Get-NetAdapterSriov",
        does: "Lists adapters and what they can do.",
        prints: "An object for each: Name, ComputerName, Intent, Enabled, SriovSupport, NumVFs, VFsInUse, TotalVFs, Levels, PciAddress, Driver.",
        parameters: &[adapter_name(), hidden()],
        piped: false,
        examples: &["Get-NetAdapterSriov", "Get-NetAdapterSriov -Name eth2"],
        action: Action::ListSriov,
    },
    Cmdlet {
        name: "Get-NetAdapterSriovVf",
        does: "Lists VFs and who uses them.",
        prints: "An object for each: Name (its adapter), ComputerName, FunctionID, PciAddress, MacAddress, VlanID, Driver, VMId, VMName.",
        parameters: &[
            adapter_name(),
            parameter(
                "FunctionID",
                Kind::Names,
                None,
                Need::Optional,
                "Only VFs with these numbers, from 0; several separated by commas.",
            ),
            hidden(),
        ],
        piped: false,
        examples: &[
            "Get-NetAdapterSriovVf",
            "Get-NetAdapterSriovVf -Name eth2",
            "Get-NetAdapterSriovVf -Name eth2 -FunctionID 3",
        ],
        action: Action::ListVfs,
    },
    Cmdlet {
        name: "Get-NetIntentStatus",
        does: "Tells the state of intents on every node.",
        prints: "An object for each intent and node: IntentName, Host, ConfigurationStatus (Validating, Pending, Provisioning, Retrying, Success, Failed), Error.",
        parameters: &[parameter(
            "Name",
            Kind::Text,
            Some(1),
            Need::Optional,
            "One intent.",
        )],
        piped: false,
        examples: &["Get-NetIntentStatus", "Get-NetIntentStatus -Name compute"],
        action: Action::ListIntents,
    },
];

/// The cmdlet with this name, in whatever letters.
pub fn find(name: &str) -> Option<&'static Cmdlet> {
    CMDLETS
        .iter()
        .find(|cmdlet| cmdlet.name.eq_ignore_ascii_case(name))
}
