use super::*;

const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 0x11]);

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// A reply of the kernel with these VFs: (index, VLAN, protocol, spoof check, trust).
fn reply(vfs: &[(u32, u32, u16, u32, u32)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (vf, vlan, proto, spoofchk, trust) in vfs.iter().copied() {
        let mut mac = words(&[vf]);
        mac.extend(GUEST.0);
        mac.resize(36, 0);
        let mut tag = words(&[vf, vlan, 3]);
        tag.extend(proto.to_be_bytes());
        tag.resize(16, 0);
        let mut tags = Vec::new();
        push(&mut tags, IFLA_VF_VLAN_INFO, &tag);
        let mut info = Vec::new();
        push(&mut info, IFLA_VF_MAC, &mac);
        push(&mut info, IFLA_VF_VLAN, &words(&[vf, vlan, 3]));
        push(&mut info, IFLA_VF_RATE, &words(&[vf, 0, 100]));
        push(&mut info, IFLA_VF_SPOOFCHK, &words(&[vf, spoofchk]));
        push(&mut info, IFLA_VF_TRUST, &words(&[vf, trust]));
        push(&mut info, IFLA_VF_VLAN_LIST, &tags);
        push(&mut list, IFLA_VF_INFO, &info);
    }
    let mut message = Vec::new();
    push(
        &mut message,
        IFLA_PERM_ADDRESS,
        &[0x52, 0x54, 0, 0x10, 0, 1],
    );
    push(&mut message, IFLA_CARRIER, &[1]);
    push(&mut message, IFLA_VFINFO_LIST, &list);
    message
}

#[test]
fn attributes_are_read_and_unsupported_is_not_false() {
    let bytes = reply(&[(0, 5, 0x8100, 1, 0), (1, 0, 0x8100, u32::MAX, u32::MAX)]);
    let link = decode(&bytes);
    assert_eq!(link.permanent_mac.unwrap().to_string(), "52:54:00:10:00:01");
    assert!(link.carrier);
    let first = &link.vfs[&0];
    assert_eq!(
        first.attributes,
        VfAttributes {
            mac: GUEST,
            vlan: 5,
            qos: 3,
            spoofchk: Support::Supported(true),
            trust: Support::Supported(false),
            max_tx_rate_mbps: Support::Supported(100),
            min_tx_rate_mbps: Support::Supported(0),
            link: Support::Unknown,
        }
    );
    assert!(first.dot1q);
    assert_eq!(link.vfs[&1].attributes.spoofchk, Support::Unsupported);
    assert_eq!(link.vfs[&1].attributes.trust, Support::Unsupported);
}

#[test]
fn every_link_state_is_read_as_it_is_written() {
    for link in [VfLink::Auto, VfLink::Up, VfLink::Down] {
        let change = encode(4, Change::Link(link));
        let list = find(&change, IFLA_VFINFO_LIST).unwrap();
        let mut info = find(list, IFLA_VF_INFO).unwrap().to_vec();
        push(
            &mut info,
            IFLA_VF_MAC,
            &[&words(&[4])[..], &[0; 32]].concat(),
        );
        let (_, vf) = decode_vf(&info).unwrap();
        assert_eq!(vf.attributes.link, Support::Supported(link));
    }
}

#[test]
fn an_interface_keeps_its_alternative_names_when_it_is_renamed() {
    use crate::linux::own_network::{altname, cable, in_own_network, name};
    in_own_network(|_| {
        let long = "x".repeat(127);
        cable("ens7f0np0", None);
        assert!(observe(&name("ens7f0np0")).unwrap().altnames.is_empty());
        altname("ens7f0np0", "ens7f0");
        altname("ens7f0np0", &long);
        let seen = observe(&name("ens7f0np0")).unwrap();
        let names: Vec<_> = seen.altnames.iter().map(AdapterName::as_str).collect();
        assert_eq!(names, ["ens7f0", &long]);
    });
}

#[test]
fn another_tag_protocol_is_noticed() {
    let link = decode(&reply(&[(0, 5, 0x88a8, 1, 0)]));
    assert!(!link.vfs[&0].dot1q);
}

#[test]
fn as_many_vfs_as_a_card_has_are_read() {
    let many: Vec<_> = (0..255).map(|vf| (vf, 0, 0x8100, 1, 0)).collect();
    let bytes = reply(&many);
    assert!(bytes.len() > 3 * 8192, "{}", bytes.len());
    assert_eq!(decode(&bytes).vfs.len(), 255);
}

#[test]
fn a_reply_cut_anywhere_is_read_as_far_as_it_goes() {
    let bytes = reply(&[(0, 5, 0x8100, 1, 0), (1, 5, 0x8100, 1, 0)]);
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).vfs.len() <= 2);
    }
}

/// One `IFLA_VF_INFO`, an attribute a line, as hexadecimal digits.
const IGB_VF3: &str = "\
    28000100 030000005254007700110000000000000000000000000000000000000000000000000000 \
    24000d00 ffffffffffff0000000000000000000000000000000000000000000000000000 \
    10000200 030000000500000003000000 \
    10000600 030000000000000064000000 \
    0c000300 0300000064000000 \
    0c000400 0300000000000000 \
    0c000500 0300000000000000 \
    0c000700 03000000ffffffff \
    0c000900 0300000001000000 \
    18000c00 1400010003000000050000000300000081000000";

/// Answered by Linux 6.12's igb (emulated 82576) for VF 3 after: address 52:54:00:77:00:11, VLAN 5
/// priority 3, spoof check off, trust on, maximum rate 100.
#[test]
fn the_recorded_answer_of_igb_is_understood() {
    let digits: String = IGB_VF3.split_whitespace().collect();
    let bytes: Vec<u8> = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let (index, vf) = decode_vf(&bytes).unwrap();
    assert_eq!(index, 3);
    assert!(vf.dot1q);
    assert_eq!(
        vf.attributes,
        VfAttributes {
            mac: GUEST,
            vlan: 5,
            qos: 3,
            spoofchk: Support::Supported(false),
            trust: Support::Supported(true),
            max_tx_rate_mbps: Support::Supported(100),
            min_tx_rate_mbps: Support::Supported(0),
            link: Support::Supported(VfLink::Auto),
        }
    );
}

#[test]
fn a_driver_that_says_little_leaves_the_rest_unknown() {
    let (mut info, mut list, mut message) = (Vec::new(), Vec::new(), Vec::new());
    push(
        &mut info,
        IFLA_VF_MAC,
        &[&words(&[4])[..], &[0; 32]].concat(),
    );
    push(&mut list, IFLA_VF_INFO, &info);
    push(&mut message, IFLA_VFINFO_LIST, &list);
    let link = decode(&message);
    assert_eq!(link.vfs[&4], Vf::unknown());
    assert_eq!((link.permanent_mac, link.carrier), (None, false));
}

/// What iproute2 6.1 sends for the same (strace of `ip link set lo vf 3 …`), without its headers.
#[test]
fn every_change_is_encoded_as_iproute2_does() {
    let nested = |kind: u8, value: &[u8]| {
        let length = 4 + value.len() as u8;
        let outer = [
            length + 8,
            0,
            22,
            0,
            length + 4,
            0,
            1,
            0,
            length,
            0,
            kind,
            0,
        ];
        [&outer[..], value].concat()
    };
    let mac = [&[3, 0, 0, 0][..], &GUEST.0, &[0; 26]].concat();
    assert_eq!(encode(3, Change::Mac(GUEST)), nested(1, &mac));
    for (change, kind, values) in [
        (Change::Vlan(5, 2), 2, &[3, 5, 2][..]),
        (Change::Spoofchk(true), 4, &[3, 1]),
        (Change::Trust(false), 9, &[3, 0]),
        (Change::Link(VfLink::Auto), 5, &[3, 0]),
        (Change::Link(VfLink::Up), 5, &[3, 1]),
        (Change::Link(VfLink::Down), 5, &[3, 2]),
        (
            Change::Rates {
                min_mbps: 10,
                max_mbps: 200,
            },
            6,
            &[3, 10, 200],
        ),
    ] {
        let value: Vec<u8> = values.iter().flat_map(|value| [*value, 0, 0, 0]).collect();
        assert_eq!(encode(3, change), nested(kind, &value), "{change:?}");
    }
}

#[test]
fn this_machines_loopback_has_no_vfs() {
    let lo = "lo".parse().unwrap();
    assert!(observe(&lo).unwrap().vfs.is_empty());
    assert_eq!(crate::linux::fdb::filter::read(&lo), Ok(Vec::new()));
    let refused = change(&lo, 0, Change::Spoofchk(true)).unwrap_err();
    assert!(refused.to_string().contains("VF 0 of lo"), "{refused}");
    let gone = observe(&"no-such-if".parse().unwrap()).unwrap_err();
    assert!(gone.is_gone());
}
