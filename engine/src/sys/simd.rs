//! Byte classification for the head scanner, compiled once per instruction set.
//!
//! The algorithm is the same everywhere: a block of 64 bytes becomes two bitmaps, bit `i` for byte
//! `i`. Only the compare instructions differ. An [`Isa`] can be made by detection alone, so to hold
//! one is the proof that its instructions exist (promise S7).

/// Bytes that one pair of bitmaps describes.
pub(crate) const BLOCK: usize = 64;

/// The bytes of a block at which a walk over a head must stop; bit `i` stands for byte `i`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stops {
    /// Inside a field name: ":" and whatever is not U+0021 to U+007E.
    pub(crate) name: u64,
    /// Inside a value or the first line: DEL and the C0 controls (CR, LF, NUL, ...) except HT.
    pub(crate) value: u64,
}

/// Masks bytes with a key of four. Compiled again for wider instruction sets ([`Isa::mask`]); short
/// payloads take it as it is.
#[inline(always)]
pub(crate) fn xor([a, b, c, d]: [u8; 4], bytes: &mut [u8]) {
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (blocks, tail) = bytes.as_chunks_mut::<8>();
    for block in blocks {
        *block = (u64::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

/// An instruction set that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    Swar,
    #[cfg(target_arch = "x86_64")]
    Sse2,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Isa {
    /// The best one of this processor.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") {
                Self(Kind::Avx2)
            } else {
                Self(Kind::Sse2) // part of every x86-64
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            Self(Kind::Neon) // part of every aarch64 that has this program's standard library
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            Self(Kind::Swar)
        }
    }

    /// Every one that this processor has.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self(Kind::Swar), Self::detect()];
        #[cfg(target_arch = "x86_64")]
        all.push(Self(Kind::Sse2));
        all.dedup();
        all
    }

    /// The best one, remembered.
    #[inline]
    pub(crate) fn detected() -> Self {
        static BEST: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *BEST.get_or_init(Self::detect)
    }

    /// Masks or unmasks bytes in place (RFC 6455 §5.3).
    #[inline]
    pub(crate) fn mask(self, key: [u8; 4], bytes: &mut [u8]) {
        match self.0 {
            // SAFETY: this kind is made by `detect` alone, after the processor said it has AVX2.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2::xor(key, bytes) },
            // The baseline's own vectors: the compiler makes them of the portable loop.
            _ => xor(key, bytes),
        }
    }

    /// Classifies as many blocks as both slices have.
    #[inline]
    pub(crate) fn classify(self, blocks: &[[u8; BLOCK]], stops: &mut [Stops]) {
        match self.0 {
            #[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
            Kind::Swar => swar::classify(blocks, stops),
            // SAFETY: SSE2 belongs to the x86-64 baseline.
            #[cfg(target_arch = "x86_64")]
            Kind::Sse2 => unsafe { sse2::classify(blocks, stops) },
            // SAFETY: this kind is made by `detect` alone, after the processor said it has AVX2.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2::classify(blocks, stops) },
            // SAFETY: NEON belongs to the aarch64 baseline.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => unsafe { neon::classify(blocks, stops) },
        }
    }
}

/// Eight bytes at a time in a general register: for processors without a module of their own here.
#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod swar {
    use super::{BLOCK, Stops};

    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const LOW: u64 = u64::from_ne_bytes([0x7F; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

    pub(super) fn classify(blocks: &[[u8; BLOCK]], stops: &mut [Stops]) {
        for (block, stops) in blocks.iter().zip(stops) {
            *stops = Stops::default();
            let (words, _) = block.as_chunks::<8>();
            for (word, shift) in words.iter().zip((0..).step_by(8)) {
                let word = u64::from_le_bytes(*word);
                let delete = equal(word, 0x7F);
                let name = !at_least(word, 0x21) | word | delete | equal(word, b':');
                let value = (!at_least(word, 0x20) & !equal(word, b'\t')) | delete;
                stops.name |= gather(name) << shift;
                stops.value |= gather(value) << shift;
            }
        }
    }

    /// The top bit of each byte says whether the byte is at least `bound`, which is below 0x80.
    /// Exact: no byte's sum carries into the next.
    const fn at_least(word: u64, bound: u8) -> u64 {
        ((word & LOW) + ONES * (0x80 - bound as u64)) | word
    }

    /// The top bit of each byte says whether the byte is `wanted`.
    const fn equal(word: u64, wanted: u8) -> u64 {
        !at_least(word ^ (ONES * wanted as u64), 1)
    }

    /// The top bits of the eight bytes, as the low eight bits.
    const fn gather(flags: u64) -> u64 {
        ((flags & HIGH) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_min_epu8,
        _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };

    use super::{BLOCK, Stops};

    #[target_feature(enable = "sse2")]
    pub(super) fn classify(blocks: &[[u8; BLOCK]], stops: &mut [Stops]) {
        for (block, stops) in blocks.iter().zip(stops) {
            *stops = Stops::default();
            let (lanes, _) = block.as_chunks::<16>();
            for (lane, shift) in lanes.iter().zip((0..).step_by(16)) {
                // SAFETY: the array has the 16 bytes that are read; no alignment is needed.
                let bytes = unsafe { _mm_loadu_si128(lane.as_ptr().cast()) };
                let (name, value) = lane_stops(bytes);
                stops.name |= name << shift;
                stops.value |= value << shift;
            }
        }
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn lane_stops(bytes: __m128i) -> (u64, u64) {
        let delete = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7F));
        let colon = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x3A));
        let tab = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x09));
        // The signed compare takes 0x80 to 0xFF for negative, so they are below 0x21 too.
        let outside = _mm_cmpgt_epi8(_mm_set1_epi8(0x21), bytes);
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1F)), bytes);
        let name = _mm_or_si128(_mm_or_si128(outside, delete), colon);
        let value = _mm_or_si128(_mm_andnot_si128(tab, control), delete);
        (mask(name), mask(value))
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn mask(lanes: __m128i) -> u64 {
        u64::from(_mm_movemask_epi8(lanes).cast_unsigned())
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_andnot_si256, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_loadu_si256,
        _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    };

    use super::{BLOCK, Stops};

    #[target_feature(enable = "avx2")]
    pub(super) fn xor(key: [u8; 4], bytes: &mut [u8]) {
        super::xor(key, bytes);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn classify(blocks: &[[u8; BLOCK]], stops: &mut [Stops]) {
        for (block, stops) in blocks.iter().zip(stops) {
            *stops = Stops::default();
            let (lanes, _) = block.as_chunks::<32>();
            for (lane, shift) in lanes.iter().zip((0..).step_by(32)) {
                // SAFETY: the array has the 32 bytes that are read; no alignment is needed.
                let bytes = unsafe { _mm256_loadu_si256(lane.as_ptr().cast()) };
                let (name, value) = lane_stops(bytes);
                stops.name |= name << shift;
                stops.value |= value << shift;
            }
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn lane_stops(bytes: __m256i) -> (u64, u64) {
        let delete = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x7F));
        let colon = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x3A));
        let tab = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(0x09));
        // The signed compare takes 0x80 to 0xFF for negative, so they are below 0x21 too.
        let outside = _mm256_cmpgt_epi8(_mm256_set1_epi8(0x21), bytes);
        let control = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1F)), bytes);
        let name = _mm256_or_si256(_mm256_or_si256(outside, delete), colon);
        let value = _mm256_or_si256(_mm256_andnot_si256(tab, control), delete);
        (mask(name), mask(value))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn mask(lanes: __m256i) -> u64 {
        u64::from(_mm256_movemask_epi8(lanes).cast_unsigned())
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::{
        uint8x16_t, vaddv_u8, vandq_u8, vbicq_u8, vceqq_u8, vcgtq_u8, vcltq_u8, vdupq_n_u8,
        vget_high_u8, vget_low_u8, vld1q_u8, vorrq_u8,
    };

    use super::{BLOCK, Stops};

    /// The weight of each lane in the mask of its half.
    const WEIGHTS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];

    #[target_feature(enable = "neon")]
    pub(super) fn classify(blocks: &[[u8; BLOCK]], stops: &mut [Stops]) {
        for (block, stops) in blocks.iter().zip(stops) {
            *stops = Stops::default();
            let (lanes, _) = block.as_chunks::<16>();
            for (lane, shift) in lanes.iter().zip((0..).step_by(16)) {
                // SAFETY: the array has the 16 bytes that are read; no alignment is needed.
                let bytes = unsafe { vld1q_u8(lane.as_ptr()) };
                let (name, value) = lane_stops(bytes);
                stops.name |= name << shift;
                stops.value |= value << shift;
            }
        }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn lane_stops(bytes: uint8x16_t) -> (u64, u64) {
        let below = vcltq_u8(bytes, vdupq_n_u8(0x21));
        let above = vcgtq_u8(bytes, vdupq_n_u8(0x7E));
        let colon = vceqq_u8(bytes, vdupq_n_u8(0x3A));
        let control = vcltq_u8(bytes, vdupq_n_u8(0x20));
        let tab = vceqq_u8(bytes, vdupq_n_u8(0x09));
        let delete = vceqq_u8(bytes, vdupq_n_u8(0x7F));
        let name = vorrq_u8(vorrq_u8(below, above), colon);
        let value = vorrq_u8(vbicq_u8(control, tab), delete);
        (mask(name), mask(value))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn mask(lanes: uint8x16_t) -> u64 {
        // SAFETY: the array has the 16 bytes that are read.
        let weights = unsafe { vld1q_u8(WEIGHTS.as_ptr()) };
        let weighted = vandq_u8(lanes, weights);
        let low = vaddv_u8(vget_low_u8(weighted));
        let high = vaddv_u8(vget_high_u8(weighted));
        u64::from(low) | (u64::from(high) << 8)
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Isa, Stops};

    fn naive(block: &[u8; BLOCK]) -> Stops {
        let mut stops = Stops::default();
        for (i, &byte) in block.iter().enumerate() {
            let in_name = matches!(byte, 0x21..=0x7E) && byte != b':';
            let in_value = byte == b'\t' || (byte >= 0x20 && byte != 0x7F);
            stops.name |= u64::from(!in_name) << i;
            stops.value |= u64::from(!in_value) << i;
        }
        stops
    }

    #[test]
    fn every_isa_agrees_with_the_naive_classifier_for_every_byte_in_every_lane() {
        for isa in Isa::all() {
            for byte in 0..=255 {
                for lane in 0..BLOCK {
                    let mut block = [b'a'; BLOCK];
                    block[lane] = byte;
                    let mut stops = [Stops { name: !0, value: !0 }];
                    isa.classify(&[block], &mut stops);
                    assert_eq!(stops[0], naive(&block), "{isa:?}, byte {byte:#04x} at {lane}");
                }
            }
        }
    }

    #[test]
    fn every_isa_agrees_with_the_naive_classifier_on_random_blocks() {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..2_000 {
            let blocks: [[u8; BLOCK]; 3] =
                std::array::from_fn(|_| std::array::from_fn(|_| rng.u8(..)));
            for isa in Isa::all() {
                let mut stops = [Stops::default(); 3];
                isa.classify(&blocks, &mut stops);
                assert_eq!(stops, blocks.each_ref().map(naive), "{isa:?}, seed {seed}");
            }
        }
    }

    #[test]
    fn the_shorter_slice_decides_how_many_blocks_are_classified() {
        for isa in Isa::all() {
            let mut stops = [Stops { name: 7, value: 7 }; 2];
            isa.classify(&[[b'\r'; BLOCK]], &mut stops);
            assert_eq!(stops, [Stops { name: !0, value: !0 }, Stops { name: 7, value: 7 }]);
            isa.classify(&[[b'a'; BLOCK]; 3], &mut stops);
            assert_eq!(stops, [Stops::default(); 2]);
        }
    }
}
