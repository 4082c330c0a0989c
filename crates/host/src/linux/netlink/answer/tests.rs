use super::*;

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((HEADER as u32 + payload.len() as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn refusal(errno: i32, text: &str) -> Vec<u8> {
    let mut payload = (-errno).to_ne_bytes().to_vec();
    payload.extend([0; HEADER]);
    payload.extend((4 + text.len() as u16 + 1).to_ne_bytes());
    payload.extend(1u16.to_ne_bytes());
    payload.extend(text.as_bytes());
    payload.push(0);
    payload
}

#[test]
fn answers_end_with_the_acknowledgement_and_skip_strangers() {
    let mut datagram = message(16, 0, 6, b"late");
    datagram.extend(message(16, 2, 7, b"one.."));
    datagram.extend(message(16, 2, 7, b"two"));
    datagram.extend(message(3, 2, 7, &0i32.to_ne_bytes()));
    let mut answer = Answer::default();
    answer.take("test", &datagram, 7).unwrap();
    assert!(answer.complete && !answer.interrupted);
    let payloads: Vec<_> = answer.messages.iter().map(|m| &m.payload[..]).collect();
    assert_eq!(payloads, [&b"one.."[..], b"two"]);
}

#[test]
fn a_refusal_carries_errno_and_extended_ack() {
    let flags = 0x200 | libc::NLM_F_MULTI as u16;
    let datagram = message(2, flags, 1, &refusal(libc::EBUSY, "VF is\n busy"));
    let error = Answer::default().take("reset", &datagram, 1).unwrap_err();
    assert_eq!(
        error,
        HostError::kernel("reset", libc::EBUSY, Some("VF is busy".into()))
    );
}

#[test]
fn an_interrupted_dump_is_noticed() {
    let mut datagram = message(16, 2 | libc::NLM_F_DUMP_INTR as u16, 1, b"x");
    datagram.extend(message(3, 2, 1, &0i32.to_ne_bytes()));
    let mut answer = Answer::default();
    answer.take("dump", &datagram, 1).unwrap();
    assert!(answer.interrupted);
}

#[test]
fn a_cut_off_message_is_an_error_and_ends() {
    let whole = message(16, 0, 1, b"12345678");
    for length in 1..whole.len() {
        let mut answer = Answer::default();
        assert!(answer.take("x", &whole[..length], 1).is_err(), "{length}");
    }
    // A length that is smaller than the header itself.
    let mut short = whole;
    short[..4].copy_from_slice(&3u32.to_ne_bytes());
    assert!(Answer::default().take("x", &short, 1).is_err());
}
