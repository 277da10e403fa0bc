//! Directional steering (`spec/session.md` §9): a direction for each layer, of which the outputs of attention and feed-forward part
//! lose a multiple, or gain one.

use crate::backend::Backend;
use crate::config::Config;
use crate::error::Result;
use std::ops::RangeInclusive;

/// How far the length of a direction may be from 1.
const LENGTH_TOLERANCE: f64 = 1e-3;
/// Largest scale accepted, either way; far less already leaves no sense in what is generated.
pub const SCALE_MAX: f32 = 100.0;

/// An output of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Site {
    /// Of attention.
    Attention,
    /// Of the feed-forward part: routed and shared experts together.
    FeedForward,
}

/// What a direction cannot be used for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SteeringError {
    /// The file has another size.
    #[error(
        "{found} bytes, expected {expected}: {layers} layers of {width} f32; it was made for another model or cut short"
    )]
    Size {
        /// Bytes of the file.
        found: usize,
        /// Bytes that this model's directions have.
        expected: usize,
        /// Layers of the model.
        layers: usize,
        /// Its hidden width.
        width: usize,
    },
    /// A direction is neither of length 1 nor zero.
    #[error("the direction of layer {layer} has length {length}, expected 1 (or 0, for none)")]
    Length {
        /// The layer.
        layer: usize,
        /// Length found, which may be no number.
        length: f64,
    },
    /// A scale is out of range.
    #[error("a scale is {0}, expected a number from -{SCALE_MAX} to {SCALE_MAX}")]
    Scale(f32),
    /// Layers that the model does not have.
    #[error("layers {first} to {last} are not all there; the model has layers 0 to {most}")]
    Layers {
        /// First layer asked for.
        first: usize,
        /// Last layer asked for.
        last: usize,
        /// Last layer of the model.
        most: usize,
    },
}

/// How strongly, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// On the output of attention: 1 removes the direction, less than 0 adds to it.
    pub attention: f32,
    /// On the output of the feed-forward part.
    pub feed_forward: f32,
    /// Layers that are steered; `None` for all.
    pub layers: Option<RangeInclusive<usize>>,
}

/// Directions with their scales, ready for a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Steering {
    directions: Vec<Vec<f32>>,
    scales: Scales,
}

impl Steering {
    /// The directions in `bytes`: `E` little-endian f32 for each layer and nothing else, each of length 1 or zero.
    ///
    /// # Errors
    /// Another size, length or scale; layers that the model lacks.
    pub fn new(bytes: &[u8], config: &Config, scales: Scales) -> std::result::Result<Self, SteeringError> {
        let (layers, width) = (config.layers.len(), config.embd);
        let expected = layers * width * size_of::<f32>();
        if bytes.len() != expected {
            return Err(SteeringError::Size { found: bytes.len(), expected, layers, width });
        }
        for scale in [scales.attention, scales.feed_forward] {
            // Also what is no number.
            if !(-SCALE_MAX..=SCALE_MAX).contains(&scale) {
                return Err(SteeringError::Scale(scale));
            }
        }
        if let Some(range) = scales.layers.as_ref().filter(|range| range.is_empty() || *range.end() >= layers) {
            return Err(SteeringError::Layers { first: *range.start(), last: *range.end(), most: layers - 1 });
        }
        let value = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let values: Vec<f32> = bytes.chunks_exact(size_of::<f32>()).map(value).collect();
        let directions: Vec<Vec<f32>> = values.chunks_exact(width).map(<[f32]>::to_vec).collect();
        for (layer, direction) in directions.iter().enumerate() {
            let length = direction.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let is_unit = (length - 1.0).abs() <= LENGTH_TOLERANCE;
            if !is_unit && length != 0.0 {
                return Err(SteeringError::Length { layer, length });
            }
        }
        Ok(Self { directions, scales })
    }

    /// Scale of an output; `None` where nothing is to be done.
    fn scale(&self, il: usize, site: Site) -> Option<f32> {
        let scale = match site {
            Site::Attention => self.scales.attention,
            Site::FeedForward => self.scales.feed_forward,
        };
        let is_meant = self.scales.layers.as_ref().is_none_or(|layers| layers.contains(&il));
        (scale != 0.0 && is_meant).then_some(scale)
    }

    /// The same with the directions on `backend`.
    ///
    /// # Errors
    /// Out of memory.
    pub(crate) fn on<B: Backend>(self, backend: &B) -> Result<Steered<B>> {
        let vectors = self.directions.iter().map(|direction| backend.vector(direction.clone()));
        Ok(Steered { vectors: vectors.collect::<Result<_>>()?, steering: self })
    }

    /// All that outputs depend on, as bytes; nothing if nothing is done.
    fn identity(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for il in 0..self.directions.len() {
            for site in [Site::Attention, Site::FeedForward] {
                let Some(scale) = self.scale(il, site) else { continue };
                bytes.extend((il as u64).to_le_bytes());
                bytes.push(u8::from(site == Site::Attention));
                bytes.extend(scale.to_le_bytes());
                bytes.extend(self.directions[il].iter().flat_map(|v| v.to_le_bytes()));
            }
        }
        bytes
    }
}

/// A model's steering, on its backend.
pub(crate) struct Steered<B: Backend> {
    steering: Steering,
    vectors: Vec<B::Vector>,
}

impl<B: Backend> Steered<B> {
    /// Direction and scale of an output; `None` where nothing is to be done.
    pub(crate) fn at(&self, il: usize, site: Site) -> Option<(&B::Vector, f32)> {
        Some((&self.vectors[il], self.steering.scale(il, site)?))
    }

    pub(crate) fn identity(&self) -> Vec<u8> {
        self.steering.identity()
    }
}
