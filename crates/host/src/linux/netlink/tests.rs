use super::*;
use crate::linux::{
    attributes,
    uapi::{IFINFOMSG, IFLA_IFNAME, RTM_GETLINK},
};

#[test]
fn the_kernel_answers_and_refuses() {
    let mut netlink = Netlink::route().unwrap();
    let links = netlink
        .request("list links", RTM_GETLINK, DUMP, &[0; IFINFOMSG])
        .unwrap();
    let names: Vec<_> = links
        .iter()
        .filter_map(|link| attributes::find(&link.payload[IFINFOMSG..], IFLA_IFNAME))
        .map(attributes::text)
        .collect();
    assert!(names.contains(&"lo".to_owned()), "{names:?}");

    let mut request = vec![0; IFINFOMSG];
    attributes::push(&mut request, IFLA_IFNAME, b"no-such-if\0");
    let error = netlink
        .request("look", RTM_GETLINK, 0, &request)
        .unwrap_err();
    assert!(error.is_gone(), "{error}");
    assert_eq!(ifindex(&"lo".parse().unwrap()), Ok(1));
    assert!(matches!(
        ifindex(&"no-such-if".parse().unwrap()),
        Err(HostError::Gone(_))
    ));
}

#[test]
fn waiting_for_events_ends() {
    let mut netlink = Netlink::route().unwrap();
    assert_eq!(netlink.receive(Duration::from_millis(5)), Ok(Vec::new()));
}

#[test]
fn after_an_exchange_that_is_overdue_the_next_has_a_socket_of_its_own() {
    let mut netlink = Netlink::route().unwrap();
    netlink.patience = Duration::ZERO;
    let request =
        |netlink: &mut Netlink| netlink.request("list links", RTM_GETLINK, DUMP, &[0; IFINFOMSG]);
    // Whichever of the two is sooner here.
    match request(&mut netlink) {
        Ok(links) => {
            assert!(!links.is_empty());
            netlink.socket = None;
        }
        Err(overdue) => assert!(matches!(overdue, HostError::Deadline { .. }), "{overdue}"),
    }
    netlink.patience = PATIENCE;
    assert!(!request(&mut netlink).unwrap().is_empty());
}

#[test]
fn several_requests_are_answered_or_the_first_refusal_is() {
    let mut netlink = Netlink::route().unwrap();
    let lo = [0u32, 1, 0, 0].map(u32::to_ne_bytes).concat();
    let absent = [0u32, 0x7fff_ffff, 0, 0].map(u32::to_ne_bytes).concat();
    let both = |first, second| [(0, first), (0, second)];
    netlink
        .request_all("look", RTM_GETLINK, &both(&lo[..], &lo))
        .unwrap();
    let error = netlink.request_all("look", RTM_GETLINK, &both(&absent[..], &lo));
    assert!(error.unwrap_err().is_gone());
    // What is left unread of it is no answer to the next.
    let answers = netlink.request("look", RTM_GETLINK, 0, &lo).unwrap();
    assert_eq!(answers.len(), 1);
}
