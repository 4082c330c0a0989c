//! Chains, rules and flowtables of nf_tables, as far as it matters for where they apply and what they do
//! (include/uapi/linux/netfilter/nf_tables.h).

use std::collections::{BTreeMap, BTreeSet};

use super::{Family, NFGENMSG, is_unknown_subsystem, socket};
use crate::{
    Result,
    linux::{
        attributes::{find, iter, u32_at},
        links::Interface,
        netlink::{Message, Netlink},
        uapi::{DUMP, text_of},
    },
};

// linux/netfilter/nfnetlink.h: the subsystem, and nf_tables.h's messages in it.
const SUBSYSTEM: u16 = 10 << 8;
const NFT_MSG_GETCHAIN: u16 = SUBSYSTEM | 4;
const NFT_MSG_GETRULE: u16 = SUBSYSTEM | 7;
const NFT_MSG_GETGEN: u16 = SUBSYSTEM | 16;
const NFT_MSG_GETFLOWTABLE: u16 = SUBSYSTEM | 23;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_DEV: u16 = 3;
const NFTA_HOOK_DEVS: u16 = 4;
const NFTA_DEVICE_NAME: u16 = 1;
const NFTA_DEVICE_PREFIX: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_FLOWTABLE_TABLE: u16 = 1;
const NFTA_FLOWTABLE_NAME: u16 = 2;
const NFTA_FLOWTABLE_HOOK: u16 = 3;
const NFTA_FLOWTABLE_HOOK_DEVS: u16 = 3;
const NF_DROP: u32 = 0;

/// A device that a hook is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    Named(String),
    /// All whose names begin so (Linux 6.16).
    Prefix(String),
}

impl Device {
    /// It is for one of these.
    pub fn fits(&self, is_one: impl Fn(&str) -> bool, all: &[&Interface]) -> bool {
        match self {
            Self::Named(name) => is_one(name),
            Self::Prefix(prefix) => all
                .iter()
                .any(|link| link.name.as_str().starts_with(prefix)),
        }
    }
}

/// Where a base chain hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its number in the family; `None` where the kernel did not say.
    number: Option<u32>,
    /// Of a hook of devices: which.
    pub devices: Vec<Device>,
}

impl Hook {
    /// `netdev`'s hooks, and `inet`'s own ingress (linux/netfilter.h, `NF_INET_INGRESS`).
    pub fn is_of_devices(&self, family: Family) -> bool {
        const NF_INET_INGRESS: u32 = 5;
        family == Family::Netdev || family == Family::Inet && self.number == Some(NF_INET_INGRESS)
    }

    /// br_netfilter calls it for bridged frames: before and after routing and at forwarding; of ARP's two hooks
    /// besides in and out its forwarding (net/bridge/br_netfilter_hooks.c).
    pub fn sees_bridged(&self, family: Family) -> bool {
        match family {
            Family::Arp => self.number.is_none_or(|number| number == 2),
            _ => self.number.is_none_or(|number| matches!(number, 0 | 2 | 4)),
        }
    }
}

/// A chain; a base chain if it has a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub family: Family,
    pub table: String,
    pub name: String,
    pub hook: Option<Hook>,
    /// What no rule decided is dropped.
    pub drops: bool,
    pub rules: Vec<Rule>,
}

/// A flowtable: established flows that enter by its devices go past all rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flowtable {
    pub family: Family,
    pub table: String,
    pub name: String,
    pub devices: Vec<String>,
}

/// A condition on the interface that a frame came by or goes out by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaced {
    /// Its name is this.
    Is(String),
    /// Its name begins so.
    Begins(String),
}

/// What a rule does with what it fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Goes through another chain.
    Chain(String),
    /// Restricts or changes something, in nft's word for it.
    Does(String),
}

/// What of a rule matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Conditions on interfaces that all must hold. Others may be there too.
    pub interfaces: Vec<Interfaced>,
    /// What it does; nothing if it only counts, logs or lets pass.
    pub actions: Vec<Action>,
}

type Key = (Family, String, String);

/// Everything nf_tables has in the families that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    chains: BTreeMap<Key, Chain>,
    pub flowtables: Vec<Flowtable>,
    /// Interfaces that rules, hooks and flowtables name.
    named: BTreeSet<String>,
    begun: BTreeSet<String>,
}

impl Ruleset {
    /// Empty where the kernel has no nf_tables.
    pub fn read(families: &BTreeSet<Family>) -> Result<Self> {
        let Some(mut netlink) = socket()? else {
            return Ok(Self::default());
        };
        match netlink.request("find nf_tables", NFT_MSG_GETGEN, 0, &[0; NFGENMSG]) {
            Err(error) if is_unknown_subsystem(&error) => return Ok(Self::default()),
            other => other.map(drop)?,
        }
        let mut ruleset = Self::default();
        let mut all = |words: &str, kind| dump(&mut netlink, words, kind);
        for answer in all("read packet filter chains", NFT_MSG_GETCHAIN)? {
            if let Some(chain) = chain(&answer).filter(|chain| families.contains(&chain.family)) {
                ruleset.add(chain);
            }
        }
        // Most nodes have none, and IP's thousands of rules matter to few.
        if ruleset.chains.values().any(|chain| chain.hook.is_some()) {
            for answer in all("read packet filter rules", NFT_MSG_GETRULE)? {
                if let Some((key, rule)) = rule(&answer) {
                    ruleset.add_rule(&key, rule);
                }
            }
        }
        match all("read flowtables", NFT_MSG_GETFLOWTABLE) {
            Ok(answers) => {
                ruleset.flowtables = answers.iter().filter_map(flowtable).collect();
                let devices = ruleset.flowtables.iter().flat_map(|table| &table.devices);
                ruleset.named.extend(devices.cloned());
            }
            // Linux before 4.16 has none.
            Err(error) if is_unknown_subsystem(&error) || error.is_unsupported() => {}
            Err(error) => return Err(error),
        }
        Ok(ruleset)
    }

    /// Chains that hang in a hook.
    pub fn bases(&self) -> impl Iterator<Item = &Chain> {
        self.chains.values().filter(|chain| chain.hook.is_some())
    }

    /// Another chain of the same table.
    pub fn beside(&self, chain: &Chain, name: &str) -> Option<&Chain> {
        let key = (chain.family, chain.table.clone(), name.to_owned());
        self.chains.get(&key)
    }

    /// Names of the chains of a table.
    pub fn chains_of(&self, family: Family, table: &str) -> Vec<&str> {
        let chains = self.chains.values();
        let chains = chains.filter(|chain| chain.family == family && chain.table == table);
        chains.map(|chain| chain.name.as_str()).collect()
    }

    /// Some rule, hook or flowtable is for an interface of this name, or one that begins like it.
    pub fn names(&self, interface: &str) -> bool {
        self.named.contains(interface)
            || self.begun.iter().any(|begin| interface.starts_with(begin))
    }

    fn add(&mut self, chain: Chain) {
        for device in chain.hook.iter().flat_map(|hook| &hook.devices) {
            match device {
                Device::Named(name) => self.named.insert(name.clone()),
                Device::Prefix(prefix) => self.begun.insert(prefix.clone()),
            };
        }
        let key = (chain.family, chain.table.clone(), chain.name.clone());
        self.chains.insert(key, chain);
    }

    fn add_rule(&mut self, key: &Key, rule: Rule) {
        let Some(chain) = self.chains.get_mut(key) else {
            return;
        };
        for interface in &rule.interfaces {
            match interface {
                Interfaced::Is(name) => self.named.insert(name.clone()),
                Interfaced::Begins(begin) => self.begun.insert(begin.clone()),
            };
        }
        chain.rules.push(rule);
    }
}

/// All families at once (`NFPROTO_UNSPEC`).
fn dump(netlink: &mut Netlink, operation: &str, kind: u16) -> Result<Vec<Message>> {
    netlink.request(operation, kind, DUMP, &[0; NFGENMSG])
}

/// netfilter's numbers are in network order.
fn number(attributes: &[u8], kind: u16) -> Option<u32> {
    find(attributes, kind)
        .and_then(|value| u32_at(value, 0))
        .map(u32::from_be)
}

fn parts(answer: &Message) -> Option<(Family, &[u8])> {
    let family = Family::of(*answer.payload.first()?)?;
    Some((family, answer.payload.get(NFGENMSG..)?))
}

pub fn chain(answer: &Message) -> Option<Chain> {
    let (family, attributes) = parts(answer)?;
    let hook = find(attributes, NFTA_CHAIN_HOOK).map(|hook| Hook {
        number: number(hook, NFTA_HOOK_HOOKNUM),
        devices: devices(hook),
    });
    Some(Chain {
        family,
        table: text_of(attributes, NFTA_CHAIN_TABLE),
        name: text_of(attributes, NFTA_CHAIN_NAME),
        hook,
        drops: number(attributes, NFTA_CHAIN_POLICY) == Some(NF_DROP),
        rules: Vec::new(),
    })
}

fn devices(hook: &[u8]) -> Vec<Device> {
    let one = find(hook, NFTA_HOOK_DEV).map(|_| Device::Named(text_of(hook, NFTA_HOOK_DEV)));
    let list = find(hook, NFTA_HOOK_DEVS).unwrap_or_default();
    let many = iter(list).map(|(kind, value)| {
        let name = crate::linux::attributes::text(value);
        match kind {
            NFTA_DEVICE_PREFIX => Device::Prefix(name),
            _ => Device::Named(name),
        }
    });
    many.chain(one).collect()
}

pub fn flowtable(answer: &Message) -> Option<Flowtable> {
    let (family, attributes) = parts(answer)?;
    let hook = find(attributes, NFTA_FLOWTABLE_HOOK).unwrap_or_default();
    let list = find(hook, NFTA_FLOWTABLE_HOOK_DEVS).unwrap_or_default();
    let devices = iter(list).filter(|(kind, _)| *kind == NFTA_DEVICE_NAME);
    Some(Flowtable {
        family,
        table: text_of(attributes, NFTA_FLOWTABLE_TABLE),
        name: text_of(attributes, NFTA_FLOWTABLE_NAME),
        devices: devices
            .map(|(_, name)| crate::linux::attributes::text(name))
            .collect(),
    })
}

pub fn rule(answer: &Message) -> Option<(Key, Rule)> {
    let (family, attributes) = parts(answer)?;
    let table = text_of(attributes, NFTA_RULE_TABLE);
    let chain = text_of(attributes, NFTA_RULE_CHAIN);
    let list = find(attributes, NFTA_RULE_EXPRESSIONS).unwrap_or_default();
    let expressions = iter(list).filter(|(kind, _)| *kind == NFTA_LIST_ELEM);
    let expressions = expressions.map(|(_, one)| {
        let data = find(one, NFTA_EXPR_DATA).unwrap_or_default();
        (text_of(one, NFTA_EXPR_NAME), data)
    });
    Some(((family, table, chain), expressed(expressions)))
}

/// Reads a rule's expressions in their order: what an interface's name was loaded into and compared with,
/// and everything that is neither a condition nor known to change nothing.
fn expressed<'a>(expressions: impl Iterator<Item = (String, &'a [u8])>) -> Rule {
    let mut rule = Rule::default();
    // The register that an interface's name was loaded into last.
    let mut loaded: Option<u32> = None;
    for (name, data) in expressions {
        let was = loaded.take();
        match name.as_str() {
            "meta" => match meta(data) {
                Meta::InterfaceName(register) => loaded = Some(register),
                Meta::Load => {}
                Meta::Set => rule.actions.push(Action::Does("meta set".into())),
            },
            "cmp" => rule
                .interfaces
                .extend(was.and_then(|register| compared(data, register))),
            "immediate" => rule.actions.extend(verdict(data)),
            // With a destination of verdicts it is a map of them, of which any may be.
            "lookup" if number(data, NFTA_LOOKUP_DREG) == Some(NFT_REG_VERDICT) => {
                rule.actions.push(Action::Does("vmap".into()));
            }
            "payload" | "exthdr" | "ct" if is_written(&name, data) => {
                rule.actions.push(Action::Does(format!("{name} set")));
            }
            _ if CONDITIONS.contains(&name.as_str()) => {}
            "target" => rule
                .actions
                .push(Action::Does(text_of(data, NFTA_TARGET_NAME))),
            _ => rule.actions.push(Action::Does(name)),
        }
    }
    rule
}

/// Expressions that load, compare, count or write a log, and change nothing.
const CONDITIONS: [&str; 23] = [
    "payload",
    "exthdr",
    "ct",
    "lookup",
    "bitwise",
    "byteorder",
    "range",
    "counter",
    "limit",
    "match",
    "fib",
    "socket",
    "rt",
    "hash",
    "numgen",
    "connlimit",
    "quota",
    "last",
    "tunnel",
    "osf",
    "xfrm",
    "log",
    "inner",
];

const NFTA_LOOKUP_DREG: u16 = 3;
const NFT_REG_VERDICT: u32 = 0;
const NFTA_TARGET_NAME: u16 = 1;

/// These load where they name a destination, and write where they name a source.
fn is_written(name: &str, data: &[u8]) -> bool {
    let source = match name {
        "payload" => 5,
        "exthdr" => 7,
        _ => 4,
    };
    find(data, source).is_some()
}

enum Meta {
    /// It puts the name of the interface that the frame came by, or goes out by, into this register.
    InterfaceName(u32),
    Load,
    Set,
}

fn meta(data: &[u8]) -> Meta {
    const NFTA_META_DREG: u16 = 1;
    const NFTA_META_KEY: u16 = 2;
    const NFTA_META_SREG: u16 = 3;
    const IIFNAME: u32 = 6;
    const OIFNAME: u32 = 7;
    if find(data, NFTA_META_SREG).is_some() {
        return Meta::Set;
    }
    match (number(data, NFTA_META_KEY), number(data, NFTA_META_DREG)) {
        (Some(IIFNAME | OIFNAME), Some(register)) => Meta::InterfaceName(register),
        _ => Meta::Load,
    }
}

/// An equality with a name, whole with its zero byte, or a beginning without one.
fn compared(data: &[u8], register: u32) -> Option<Interfaced> {
    const NFTA_CMP_SREG: u16 = 1;
    const NFTA_CMP_OP: u16 = 2;
    const NFTA_CMP_DATA: u16 = 3;
    const NFT_CMP_EQ: u32 = 0;
    const NFTA_DATA_VALUE: u16 = 1;
    let same = number(data, NFTA_CMP_SREG)? == register;
    if !same || number(data, NFTA_CMP_OP)? != NFT_CMP_EQ {
        return None;
    }
    let value = find(find(data, NFTA_CMP_DATA)?, NFTA_DATA_VALUE)?;
    let name = crate::linux::attributes::text(value);
    Some(match value.contains(&0) || value.len() == 16 {
        true => Interfaced::Is(name),
        false => Interfaced::Begins(name),
    })
}

/// What an immediate verdict does; nothing if it loads a value, lets pass, or goes back to the caller.
fn verdict(data: &[u8]) -> Option<Action> {
    const NFTA_IMMEDIATE_DATA: u16 = 2;
    const NFTA_DATA_VERDICT: u16 = 2;
    const NFTA_VERDICT_CODE: u16 = 1;
    const NFTA_VERDICT_CHAIN: u16 = 2;
    // include/uapi/linux/netfilter.h, nf_tables.h: NF_ACCEPT, NFT_CONTINUE, NFT_BREAK, NFT_JUMP, NFT_GOTO,
    // NFT_RETURN.
    const HARMLESS: [i32; 4] = [1, -1, -2, -5];
    const TO_CHAIN: [i32; 2] = [-3, -4];
    let verdict = find(find(data, NFTA_IMMEDIATE_DATA)?, NFTA_DATA_VERDICT)?;
    let code = number(verdict, NFTA_VERDICT_CODE)?.cast_signed();
    if HARMLESS.contains(&code) {
        return None;
    }
    if TO_CHAIN.contains(&code) {
        return Some(Action::Chain(text_of(verdict, NFTA_VERDICT_CHAIN)));
    }
    let word = if code == 0 { "drop" } else { "queue" };
    Some(Action::Does(word.into()))
}
