use netlink_bindings::rt_link::{IflaVfVlanInfo, OpSetlinkDo};

use super::*;

const GUEST: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 0x11]);

/// A reply of the kernel with these VFs: (index, VLAN, protocol, spoof check, trust).
fn reply(vfs: &[(u32, u32, u16, u32, u32)]) -> Vec<u8> {
    let mut request = Request::new().op_setlink_do(&Ifinfomsg::default());
    let mut list = request
        .encode()
        .push_perm_address(&[0x52, 0x54, 0, 0x10, 0, 1])
        .nested_vfinfo_list();
    for (vf, vlan, proto, spoofchk, trust) in vfs.iter().copied() {
        let mut mac = [0; 32];
        mac[..6].copy_from_slice(&GUEST.0);
        let mut tag = [0; 16];
        tag[..4].copy_from_slice(&vf.to_ne_bytes());
        tag[12..14].copy_from_slice(&proto.to_be_bytes());
        list = list
            .nested_info()
            .push_mac(IflaVfMac { vf, mac })
            .push_vlan(IflaVfVlan { vf, vlan, qos: 3 })
            .push_rate(IflaVfRate {
                vf,
                min_tx_rate: 0,
                max_tx_rate: 100,
            })
            .push_spoofchk(IflaVfSpoofchk {
                vf,
                setting: spoofchk,
            })
            .push_trust(IflaVfTrust { vf, setting: trust })
            .nested_vlan_list()
            .push_info(IflaVfVlanInfo::new_from_array(tag))
            .end_nested()
            .end_nested();
    }
    list.end_nested();
    netlink_bindings::traits::NetlinkRequest::payload(&request).to_vec()
}

fn decoded(bytes: &[u8]) -> Link {
    decode(OpGetlinkDo::decode_request(bytes).1)
}

#[test]
fn attributes_are_read_and_unsupported_is_not_false() {
    let bytes = reply(&[(0, 5, 0x8100, 1, 0), (1, 0, 0x8100, u32::MAX, u32::MAX)]);
    let link = decoded(&bytes);
    assert_eq!(link.permanent_mac.unwrap().to_string(), "52:54:00:10:00:01");
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
        }
    );
    assert!(first.dot1q);
    assert_eq!(link.vfs[&1].attributes.spoofchk, Support::Unsupported);
    assert_eq!(link.vfs[&1].attributes.trust, Support::Unsupported);
}

#[test]
fn another_tag_protocol_is_noticed() {
    let link = decoded(&reply(&[(0, 5, 0x88a8, 1, 0)]));
    assert!(!link.vfs[&0].dot1q);
}

#[test]
fn as_many_vfs_as_a_card_has_are_read() {
    let many: Vec<_> = (0..255).map(|vf| (vf, 0, 0x8100, 1, 0)).collect();
    let bytes = reply(&many);
    assert!(bytes.len() > 3 * 8192, "{}", bytes.len());
    assert_eq!(decoded(&bytes).vfs.len(), 255);
}

#[test]
fn a_reply_cut_anywhere_is_read_as_far_as_it_goes() {
    let bytes = reply(&[(0, 5, 0x8100, 1, 0), (1, 5, 0x8100, 1, 0)]);
    for length in 0..bytes.len() {
        assert!(decoded(&bytes[..length]).vfs.len() <= 2);
    }
}

#[test]
fn a_driver_that_says_little_leaves_the_rest_unknown() {
    let mut request = Request::new().op_setlink_do(&Ifinfomsg::default());
    let vf = 4;
    request
        .encode()
        .nested_vfinfo_list()
        .nested_info()
        .push_mac(IflaVfMac { vf, mac: [0; 32] });
    let link = decoded(netlink_bindings::traits::NetlinkRequest::payload(&request));
    assert_eq!(link.vfs[&4], Vf::unknown());
    assert_eq!(link.permanent_mac, None);
}

#[test]
fn every_change_is_encoded_as_the_kernel_reads_it() {
    let bytes_of = |change| {
        let mut request = Request::new().op_setlink_do(&Ifinfomsg::default());
        encode(
            request.encode().nested_vfinfo_list().nested_info(),
            3,
            change,
        );
        netlink_bindings::traits::NetlinkRequest::payload(&request).to_vec()
    };
    let info = |bytes: &[u8]| {
        let (_, attributes) = OpSetlinkDo::decode_request(bytes);
        let found = attributes.get_vfinfo_list().unwrap().get_info().next();
        let mut words: Vec<u32> = Vec::new();
        let found = found.unwrap();
        words.extend(found.get_mac().map(|mac| mac.vf));
        words.extend(
            found
                .get_vlan()
                .into_iter()
                .flat_map(|v| [v.vf, v.vlan, v.qos]),
        );
        words.extend(
            found
                .get_spoofchk()
                .into_iter()
                .flat_map(|s| [s.vf, s.setting]),
        );
        words.extend(
            found
                .get_trust()
                .into_iter()
                .flat_map(|t| [t.vf, t.setting]),
        );
        words.extend(
            (found.get_rate().into_iter()).flat_map(|r| [r.vf, r.min_tx_rate, r.max_tx_rate]),
        );
        words
    };
    // The header of the request is 16 bytes, those of the two nests and the attribute 4 each.
    let mac = bytes_of(Change::Mac(GUEST));
    assert_eq!(mac[32..38], GUEST.0);
    assert_eq!(info(&mac), [3]);
    assert_eq!(info(&bytes_of(Change::Vlan(5, 2))), [3, 5, 2]);
    assert_eq!(info(&bytes_of(Change::Spoofchk(true))), [3, 1]);
    assert_eq!(info(&bytes_of(Change::Trust(false))), [3, 0]);
    let rates = Change::Rates {
        min_mbps: 10,
        max_mbps: 200,
    };
    assert_eq!(info(&bytes_of(rates)), [3, 10, 200]);
}

#[test]
fn this_machines_loopback_has_no_vfs() {
    let lo = "lo".parse().unwrap();
    assert!(observe(&lo).unwrap().vfs.is_empty());
    assert_eq!(filter(&lo), Ok(Vec::new()));
    let refused = change(&lo, 0, Change::Spoofchk(true)).unwrap_err();
    assert!(refused.to_string().contains("VF 0 of lo"), "{refused}");
    let gone = observe(&"no-such-if".parse().unwrap()).unwrap_err();
    assert!(gone.is_gone());
}
