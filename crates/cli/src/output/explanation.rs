//! The chain from a wish to its traffic, for people.

use accelnet_model::{ChainLink, LinkState, VmExplanation};

use super::{
    printable,
    tables::{add, table, text},
};

/// `accelnet vm explain`: the sentence that says it all, then each link.
pub fn chain(chain: &VmExplanation) -> String {
    let mut out = format!("{}\n", printable(&chain.summary));
    let mut rows = table(&["link", "state", "what was found"]);
    chain.links.iter().for_each(|link| row(&mut rows, link));
    for nic in &chain.nics {
        if chain.nics.len() > 1 {
            add(
                &mut rows,
                [format!("NIC {}", nic.mac), String::new(), String::new()],
            );
        }
        nic.links.iter().for_each(|link| row(&mut rows, link));
    }
    out.push('\n');
    out.push_str(&text(&rows));
    let broken = chain
        .links
        .iter()
        .chain(chain.nics.iter().flat_map(|nic| &nic.links))
        .filter(|link| matches!(link.state, LinkState::Broken | LinkState::NotSeen));
    for link in broken {
        if let Some(cure) = &link.cure {
            out.push_str(&format!("\ncure of {}: {}", link.link, printable(cure)));
        }
    }
    out
}

fn row(rows: &mut super::columns::Table, link: &ChainLink) {
    let state = match link.state {
        LinkState::Holds => "ok",
        LinkState::Waits => "waits",
        LinkState::Broken => "BROKEN",
        LinkState::NotSeen => "not seen",
        LinkState::Idle => "-",
    };
    let code = link.code.map(|code| format!("[{code}] "));
    let words = format!("{}{}", code.unwrap_or_default(), link.text);
    add(rows, [link.link.clone(), state.to_owned(), words]);
    if let Some(evidence) = &link.evidence {
        add(rows, [String::new(), String::new(), evidence.clone()]);
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::{Code, NicChain};

    use super::*;

    fn link(name: &str, state: LinkState) -> ChainLink {
        ChainLink {
            link: name.to_owned(),
            state,
            text: "What was found.".to_owned(),
            evidence: None,
            code: None,
            cure: None,
        }
    }

    #[test]
    fn the_broken_link_stands_out_with_its_cure() {
        let broken = ChainLink {
            code: Some(Code::GuestWithoutFailover),
            cure: Some("Load net_failover.".to_owned()),
            ..link("guest", LinkState::Broken)
        };
        let explanation = VmExplanation {
            name: "vm1".into(),
            uuid: uuid::Uuid::nil(),
            node: None,
            summary: "'vm1' goes by the switch. Broken at guest: What was found.".into(),
            links: vec![link("wish", LinkState::Holds)],
            nics: vec![NicChain {
                mac: accelnet_model::MacAddr::ZERO,
                links: vec![
                    broken,
                    ChainLink {
                        evidence: Some("igb counts nothing by VF.".into()),
                        ..link("traffic", LinkState::Idle)
                    },
                ],
            }],
        };
        let text = chain(&explanation);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], explanation.summary);
        let guest = lines.iter().find(|line| line.contains("guest ")).unwrap();
        assert!(
            guest.contains("BROKEN") && guest.contains("[guest_without_failover] What"),
            "{text}"
        );
        assert!(text.contains("igb counts nothing by VF."), "{text}");
        assert_eq!(*lines.last().unwrap(), "cure of guest: Load net_failover.");
        // One NIC needs no name.
        assert!(!text.contains("NIC "), "{text}");
    }
}
