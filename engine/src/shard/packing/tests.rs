use super::super::deflate_pool::DeflatePool;
use super::super::topics::Batch;
use super::{Packed, pack, stop};
use crate::config::Compression;
use crate::conn::{Inflater, Reassembly};
use crate::memory::{Ledger, Share};
use crate::wire::{self, FrameHeader, HEADER_MAX, Opcode, hybi02, rfc6455};

fn frames(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for payload in payloads {
        let header = FrameHeader::whole(Opcode::Binary, payload.len() as u64);
        let mut bytes = [0; HEADER_MAX];
        let len = hybi02::encode(header, &mut bytes);
        out.extend_from_slice(&bytes[..len]);
        out.extend_from_slice(payload);
    }
    out
}

fn batch(payloads: &[Vec<u8>]) -> Batch {
    let mut batch = Batch::default();
    batch.frames = Share::new(None, frames(payloads));
    batch
}

/// What a client makes of a batch as it was sent; and how many of its frames were compressed.
fn read(mut bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let (mut payloads, mut compressed) = (Vec::new(), 0);
    while let Some((header, len)) = rfc6455::decode(bytes).expect("frames") {
        let end = len + usize::try_from(header.payload_len).expect("it is short");
        let payload = &bytes[len..end];
        bytes = &bytes[end..];
        if !header.compressed {
            payloads.push(payload.to_vec());
            continue;
        }
        compressed += 1;
        let (mut inflater, mut out) = (Inflater::default(), Reassembly::default());
        let mut all = usize::MAX;
        inflater.inflate(payload, &mut out, 1 << 30, &mut all).expect("what was compressed");
        inflater.finish(&mut out, 1 << 30, &mut all).expect("what was compressed");
        payloads.push(out.split().1.to_vec());
    }
    assert!(bytes.is_empty());
    (payloads, compressed)
}

fn payloads() -> Vec<Vec<u8>> {
    let mut rng = fastrand::Rng::with_seed(5);
    let words = |n: usize| b"several words, and again ".repeat(n);
    let noise: Vec<u8> = (0..5000).map(|_| rng.u8(..)).collect();
    vec![words(400), b"short".to_vec(), Vec::new(), words(1), noise, vec![0; 20_000], words(2)]
}

#[test]
fn in_slices_of_any_size_every_window_says_the_same() {
    let settings = Compression::default();
    for bits in 9..=15 {
        for slice in [1, 100, 4096, usize::MAX] {
            let mut deflate_pool = DeflatePool::new(Some(settings), Ledger::new(usize::MAX));
            let (payloads, mut turns) = (payloads(), 1);
            let mut batch = batch(&payloads);
            let mut left = slice;
            while pack(&mut batch, bits, settings, &mut deflate_pool, &mut left) == Packed::Later {
                assert!(batch.packed(bits).is_none() && left == 0);
                (left, turns) = (slice, turns + 1);
            }
            let whole = batch.frames.len();
            assert!(turns <= 2 + whole / slice + 16 * payloads.len(), "{turns} turns of {slice}");
            assert!(slice > 4096 || turns >= (whole - 500) / slice, "{turns} turns of {slice}");
            let packed = batch.packed(bits).expect("it is done");
            let (seen, compressed) = read(packed);
            assert!(seen == payloads, "{bits} bits, {slice}");
            // The noise stays as it is, and so does what is short.
            let long = payloads.iter().filter(|one| one.len() >= settings.min_bytes).count();
            assert_eq!(compressed, long - 1, "{bits} bits, {slice}");
            let once = deflate_pool.used();
            assert_eq!(pack(&mut batch, bits, settings, &mut deflate_pool, &mut 0), Packed::Done);
            assert_eq!(deflate_pool.used(), once);
        }
    }
}

#[test]
fn what_is_given_up_leaves_nothing() {
    let settings = Compression::default();
    let ledger = Ledger::new(usize::MAX);
    let mut deflate_pool = DeflatePool::new(Some(settings), ledger.clone());
    let payloads = payloads();
    let mut batch = batch(&payloads);
    assert_eq!(pack(&mut batch, 15, settings, &mut deflate_pool, &mut 1000), Packed::Later);
    let one = deflate_pool.used();
    // Its subscriber has gone, and the next one has another window.
    assert_eq!(pack(&mut batch, 9, settings, &mut deflate_pool, &mut 1000), Packed::Later);
    assert_eq!(pack(&mut batch, 9, settings, &mut deflate_pool, &mut { usize::MAX }), Packed::Done);
    assert_eq!(read(batch.packed(9).expect("it is done")).0, payloads);
    assert_eq!(pack(&mut batch, 15, settings, &mut deflate_pool, &mut 1000), Packed::Later);
    stop(&mut batch, &mut deflate_pool);
    // Another compressor was made meanwhile, and went.
    assert_eq!(pack(&mut batch, 15, settings, &mut deflate_pool, &mut 1000), Packed::Later);
    assert!(deflate_pool.deflater(15, 3).is_some());
    stop(&mut batch, &mut deflate_pool);
    assert!(batch.packing.is_none() && batch.packed(15).is_none());
    assert!(deflate_pool.used() > one);
    deflate_pool.tidy();
    deflate_pool.tidy();
    drop(batch);
    assert_eq!((deflate_pool.used(), ledger.held()), (0, 0));
}

#[test]
fn without_memory_it_is_not_compressed() {
    let settings = Compression { budget_bytes: 1000, ..Compression::default() };
    let mut deflate_pool = DeflatePool::new(Some(settings), Ledger::new(usize::MAX));
    let mut batch = batch(&payloads());
    assert_eq!(pack(&mut batch, 15, settings, &mut deflate_pool, &mut 1000), Packed::Not);
    assert_eq!(wire::frames(&batch.frames).count(), 7);
}
