use std::collections::VecDeque;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use futures_util::{SinkExt as _, StreamExt as _};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::frame::{FIN, RSV1};
use super::*;

const MAX: usize = 64 * 1024;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PING: u8 = 9;

/// A peer that sends and takes pieces of given lengths, and is not ready in between.
#[derive(Debug)]
struct Peer {
    sends: VecDeque<u8>,
    took: Vec<u8>,
    pieces: Vec<usize>,
    turn: usize,
}

impl Peer {
    fn new(sends: Vec<u8>, pieces: Vec<usize>) -> Self {
        Self { sends: sends.into(), took: Vec::new(), pieces, turn: 0 }
    }

    /// The length of the next piece; nothing when it is time to wait.
    fn piece(&mut self, context: &Context<'_>) -> Option<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(3) {
            context.waker().wake_by_ref();
            return None;
        }
        Some(self.pieces[self.turn % self.pieces.len()])
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(piece) = self.piece(context) else { return Poll::Pending };
        let length = piece.min(buffer.remaining()).min(self.sends.len());
        buffer.put_slice(&self.sends.drain(..length).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(piece) = self.piece(context) else { return Poll::Pending };
        let length = piece.min(bytes.len());
        self.took.extend(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A frame as a client writes it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = frame::write(first, true, payload);
    let head = bytes.len() - payload.len();
    bytes[head - 4..head].copy_from_slice(&mask);
    for (index, byte) in bytes[head..].iter_mut().enumerate() {
        *byte ^= mask[index % 4];
    }
    bytes
}

fn deflate(data: &[u8], level: u32, flush: FlushCompress) -> Vec<u8> {
    let mut compress = Compress::new(Compression::new(level), false);
    let mut deflated = vec![0; data.len() + data.len() / 10 + 100];
    compress.compress(data, &mut deflated, flush).unwrap();
    deflated.truncate(compress.total_out() as usize);
    match flush {
        // A final block, and the byte that the sender adds to it.
        FlushCompress::Finish => deflated.push(0),
        _ => deflated.truncate(deflated.len() - 4),
    }
    deflated
}

fn inflate(deflated: &[u8]) -> Vec<u8> {
    let deflated = [deflated, &[0, 0, 0xff, 0xff]].concat();
    let mut data = Vec::with_capacity(1024 * 1024);
    Decompress::new(false).decompress_vec(&deflated, &mut data, FlushDecompress::Sync).unwrap();
    data
}

/// What the reader gets, and the error at its end.
fn read(sends: Vec<u8>, pieces: Vec<usize>, max: usize) -> (Vec<u8>, Option<io::Error>) {
    run(async {
        let mut deflated = Deflated::new(Peer::new(sends, pieces), max);
        let mut got = Vec::new();
        let error = deflated.read_to_end(&mut got).await.err();
        (got, error)
    })
}

/// The messages that the framing gets, up to the first error.
fn messages(sends: Vec<u8>, pieces: Vec<usize>) -> Vec<Message> {
    run(async {
        let limits = WebSocketConfig::default().max_message_size(Some(MAX)).max_frame_size(Some(MAX));
        let deflated = Deflated::new(Peer::new(sends, pieces), MAX);
        let stream = WebSocketStream::from_raw_socket(deflated, Role::Server, Some(limits)).await;
        stream.take_while(|message| std::future::ready(message.is_ok())).map(Result::unwrap).collect().await
    })
}

/// The frames of a server: first byte and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (head, payload) = frame::lengths(bytes).unwrap();
        let end = head + payload as usize;
        frames.push((bytes[0], bytes[head..end].to_vec()));
        bytes = &bytes[end..];
    }
    frames
}

/// Bytes that no compressor makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn the_examples_of_the_rfc_are_read_at_any_cut() {
    let first = FIN | RSV1 | TEXT;
    let examples = [
        // §7.2.3.1: one block, whole and in fragments.
        masked(first, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        [masked(RSV1 | TEXT, &[0xf2, 0x48, 0xcd]), masked(FIN, &[0xc9, 0xc9, 0x07, 0x00])].concat(),
        // §7.2.3.3: a block without compression.
        masked(first, &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00]),
        // §7.2.3.4: a final block.
        masked(first, &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]),
        // §7.2.3.5: two blocks.
        masked(first, &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]),
    ];
    for example in examples {
        for cut in 1..=example.len() {
            assert_eq!(messages(example.clone(), vec![cut]), [Message::text("Hello")], "cut at {cut}");
        }
    }
    // §7.2.3.6: an empty message.
    assert_eq!(messages(masked(first, &[0x00]), vec![1]), [Message::text("")]);
}

#[test]
fn what_is_handed_on_is_valid_to_the_bit() {
    let (got, error) = read(masked(FIN | RSV1 | TEXT, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]), vec![3], MAX);
    assert_eq!(got, [&[0x81, 0x85, 0, 0, 0, 0][..], b"Hello"].concat());
    assert!(error.is_none());
}

#[test]
fn plain_frames_pass_untouched() {
    let sends = [
        masked(FIN | TEXT, b"one"),
        masked(BINARY, &noise(70_000)),
        masked(FIN | PING, b"ping"),
        masked(FIN, &noise(300)),
        masked(FIN | 8, &[]),
    ]
    .concat();
    for piece in [1, 7, 100_000] {
        assert_eq!(read(sends.clone(), vec![piece], 10).0, sends, "they are the framing's to judge");
    }
}

#[test]
fn a_clients_faults_end_the_stream_after_what_was_right() {
    let hello = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let begun = masked(RSV1 | TEXT, &hello[..3]);
    let unmasked = frame::write(FIN | RSV1 | TEXT, false, hello);
    let stored = [0x00, 0x00, 0x00, 0xff, 0xff];
    for (what, sends, fault) in [
        ("the bit on a continuation", [begun.clone(), masked(FIN | RSV1, &hello[3..])].concat(), Fault::Misplaced),
        ("the bit on a continuation of nothing", masked(FIN | RSV1, hello), Fault::Misplaced),
        ("the bit on a ping", masked(FIN | RSV1 | PING, b""), Fault::Misplaced),
        ("the bit on a ping within", [begun.clone(), masked(FIN | RSV1 | PING, b"")].concat(), Fault::Misplaced),
        ("the bit on an unknown opcode", masked(FIN | RSV1 | 3, b""), Fault::Misplaced),
        ("another bit besides", masked(FIN | RSV1 | 0x20 | TEXT, hello), Fault::Misplaced),
        ("a second message within", [begun.clone(), masked(FIN | RSV1 | TEXT, hello)].concat(), Fault::Interleaved),
        ("a plain message within", [begun.clone(), masked(FIN | TEXT, b"no")].concat(), Fault::Interleaved),
        ("another bit on a continuation", [begun.clone(), masked(FIN | 0x20, b"")].concat(), Fault::Interleaved),
        ("no mask", unmasked, Fault::Unmasked),
        ("an unknown kind of block", masked(FIN | RSV1 | TEXT, &[0x07, 1, 2, 3]), Fault::Corrupt),
        ("a length that contradicts itself", masked(FIN | RSV1 | TEXT, &[0x00, 5, 0, 0, 0, 1, 2]), Fault::Corrupt),
        ("final blocks", masked(FIN | RSV1 | TEXT, &[0x03, 0x00].repeat(100)), Fault::Corrupt),
        ("empty blocks", masked(FIN | RSV1 | TEXT, &stored.repeat(MAX)), Fault::TooLarge),
        (
            "empty blocks in fragments",
            [masked(RSV1 | TEXT, &[]), masked(0, &stored.repeat(1000)).repeat(30)].concat(),
            Fault::TooLarge,
        ),
    ] {
        let good = masked(FIN | RSV1 | TEXT, hello);
        let after = masked(FIN | TEXT, b"never seen");
        let (got, error) = read([good.clone(), sends.clone(), after].concat(), vec![1000], MAX);
        let error = error.unwrap_or_else(|| panic!("{what}: no error"));
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{what}");
        assert_eq!(error.to_string(), fault.to_string(), "{what}");
        assert_eq!(got, [&[0x81, 0x85, 0, 0, 0, 0][..], b"Hello"].concat(), "{what}");
        assert_eq!(messages([good, sends].concat(), vec![5]).len(), 1, "{what}");
    }
}

#[test]
fn a_bomb_does_no_harm() {
    let bomb = deflate(&vec![b'0'; 64 * 1024 * 1024], 9, FlushCompress::Sync);
    assert!(bomb.len() < 2 * MAX, "{} bytes: near the best that the format can do", bomb.len());
    let whole = masked(FIN | RSV1 | TEXT, &bomb);
    let fragments = [masked(RSV1 | TEXT, &bomb[..10]), masked(0, &bomb[10..50_000])].concat();
    for bytes in [whole, fragments] {
        let (got, error) = read(bytes, vec![1000], MAX);
        assert_eq!(error.unwrap().to_string(), Fault::TooLarge.to_string());
        assert!(got.len() <= MAX + MAX / 100, "{} bytes were handed on", got.len());
    }
}

#[test]
fn the_limit_is_met_to_the_byte() {
    for (length, fits) in [(MAX - 1, true), (MAX, true), (MAX + 1, false)] {
        for data in [vec![b'a'; length], noise(length)] {
            let sends = masked(FIN | RSV1 | BINARY, &deflate(&data, 6, FlushCompress::Sync));
            let got = messages(sends, vec![4096]);
            assert_eq!(got, if fits { vec![Message::binary(data)] } else { vec![] }, "{length}");
        }
    }
}

#[test]
fn a_connection_at_rest_keeps_nothing() {
    run(async {
        let data = vec![b'a'; 10_000];
        let sends = masked(FIN | RSV1 | BINARY, &deflate(&data, 6, FlushCompress::Sync));
        let mut deflated = Deflated::new(Peer::new(sends, vec![100]), MAX);
        deflated.read_to_end(&mut Vec::new()).await.unwrap();
        deflated.write_all(&frame::write(FIN | BINARY, false, &data)).await.unwrap();
        deflated.flush().await.unwrap();
        assert!(deflated.inbound.is_at_rest());
        assert!(deflated.outbound.is_at_rest());
        assert!(size_of::<Deflated<()>>() < 512, "{}", size_of::<Deflated<()>>());
    });
}

#[test]
fn only_what_shrinks_is_deflated() {
    let text = b"{\"type\":\"message\",\"chat\":1}".repeat(20);
    for (message, is_deflated) in [
        (Message::text("a".repeat(127)), false),
        (Message::text("a".repeat(128)), true),
        (Message::binary(text), true),
        (Message::binary(noise(128)), false),
        (Message::binary(noise(100_000)), false),
        (Message::Ping(Bytes::from_static(&[b'a'; 125])), false),
    ] {
        let took = sent(vec![message.clone()], vec![1000]);
        let frames = frames(&took);
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].0 & RSV1 != 0, is_deflated, "{message:?}");
        if is_deflated {
            assert_eq!(inflate(&frames[0].1), message.clone().into_data());
            assert!(took.len() < message.len() * 4 / 5, "{} of {}", took.len(), message.len());
        } else {
            assert_eq!(frames[0].1, message.into_data());
        }
    }
}

#[test]
fn each_frame_of_one_write_stands_alone() {
    let text = b"once upon a time ".repeat(40);
    let bytes: Vec<u8> =
        [&noise(500), &text, &text].iter().flat_map(|data| frame::write(FIN | BINARY, false, data)).collect();
    let took = run(async {
        let mut deflated = Deflated::new(Peer::new(Vec::new(), vec![100_000]), MAX);
        deflated.write_all(&bytes).await.unwrap();
        deflated.flush().await.unwrap();
        deflated.io.took
    });
    let frames = frames(&took);
    assert_eq!(frames.iter().map(|(first, _)| first & RSV1 != 0).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(frames[1], frames[2], "nothing is remembered of the first");
    assert_eq!(inflate(&frames[2].1), text);
}

/// What a client gets when the hub sends `messages` by the framing.
fn sent(messages: Vec<Message>, pieces: Vec<usize>) -> Vec<u8> {
    run(async {
        let deflated = Deflated::new(Peer::new(Vec::new(), pieces), MAX);
        let limits = WebSocketConfig::default().write_buffer_size(0);
        let mut stream = WebSocketStream::from_raw_socket(deflated, Role::Server, Some(limits)).await;
        for message in messages {
            stream.send(message).await.unwrap();
        }
        stream.get_ref().io.took.clone()
    })
}

/// A message of a client and how it comes.
#[derive(Debug, Clone)]
struct Sent {
    data: Vec<u8>,
    level: Option<u32>,
    is_final: bool,
    cuts: Vec<usize>,
    pings: bool,
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        let flush = if self.is_final { FlushCompress::Finish } else { FlushCompress::Sync };
        let payload = self.level.map_or(self.data.clone(), |level| deflate(&self.data, level, flush));
        let mut rest = &payload[..];
        let mut first = BINARY | if self.level.is_some() { RSV1 } else { 0 };
        let mut bytes = Vec::new();
        for cut in &self.cuts {
            let (part, left) = rest.split_at((*cut).min(rest.len()));
            bytes.extend(masked(first, part));
            if self.pings {
                bytes.extend(masked(FIN | PING, b"still there?"));
            }
            (rest, first) = (left, 0);
        }
        bytes.extend(masked(FIN | first, rest));
        bytes
    }
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..600),
        "[a-c]{0,400}".prop_map(String::into_bytes),
        (any::<u8>(), 0..20_000usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn sent_messages() -> impl Strategy<Value = Vec<Sent>> {
    let level = proptest::option::weighted(0.8, 0..10u32);
    let cuts = proptest::collection::vec(0..300usize, 0..4);
    let sent = (data(), level, any::<bool>(), cuts, any::<bool>())
        .prop_map(|(data, level, is_final, cuts, pings)| Sent { data, level, is_final, cuts, pings });
    proptest::collection::vec(sent, 1..5)
}

proptest! {
    #[test]
    fn messages_come_in_whole(sent in sent_messages(), pieces in proptest::collection::vec(1..3000usize, 1..8)) {
        let bytes: Vec<u8> = sent.iter().flat_map(Sent::bytes).collect();
        let (pings, got): (Vec<_>, Vec<_>) = messages(bytes, pieces).into_iter().partition(Message::is_ping);
        let expected: Vec<_> = sent.iter().map(|sent| Message::binary(sent.data.clone())).collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(pings.len(), sent.iter().filter(|sent| sent.pings).map(|sent| sent.cuts.len()).sum::<usize>());
    }

    #[test]
    fn messages_go_out_whole(
        data in proptest::collection::vec(data(), 1..5),
        pieces in proptest::collection::vec(1..3000usize, 1..8),
    ) {
        let took = sent(data.iter().cloned().map(Message::binary).collect(), pieces);
        let got: Vec<Vec<u8>> = frames(&took)
            .into_iter()
            .map(|(first, payload)| if first & RSV1 == 0 { payload } else { inflate(&payload) })
            .collect();
        prop_assert_eq!(got, data);
    }

    /// The framing writes whole frames; a writer that does not is understood too.
    #[test]
    fn frames_written_in_pieces_go_out_whole(
        data in proptest::collection::vec(data(), 1..5),
        cuts in proptest::collection::vec(1..500usize, 1..8),
        pieces in proptest::collection::vec(1..3000usize, 1..8),
    ) {
        let bytes: Vec<u8> = data.iter().flat_map(|data| frame::write(FIN | BINARY, false, data)).collect();
        let took = run(async {
            let mut deflated = Deflated::new(Peer::new(Vec::new(), pieces), MAX);
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (part, left) = rest.split_at((*cut).min(rest.len()));
                deflated.write_all(part).await.unwrap();
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            deflated.flush().await.unwrap();
            deflated.io.took
        });
        let got: Vec<Vec<u8>> = frames(&took)
            .into_iter()
            .map(|(first, payload)| if first & RSV1 == 0 { payload } else { inflate(&payload) })
            .collect();
        prop_assert_eq!(got, data);
    }

    #[test]
    fn whatever_comes_is_read_to_its_end(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let (got, _) = read([masked(RSV1 | TEXT, &bytes), masked(FIN, &bytes), bytes].concat(), vec![7], 1000);
        prop_assert!(got.len() < 10_000);
    }
}
