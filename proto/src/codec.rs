//! tonic codecs: MessagePack for messages, raw chunks for batches.

use std::marker::PhantomData;

use bytes::{Buf, BufMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::chunk::Message;

/// Buffers begin small (most calls are) and grow to what a message says it needs.
const BUFFER: usize = 8 << 10;
/// A message of batches goes out by itself as soon as it is there; small ones still travel together.
const YIELD: usize = 64 << 10;

/// Messages of ours are a tenth as deep. Each level takes kilobytes of a thread's stack, of which a server's have 2 MiB.
const DEPTH: usize = 128;

/// Both ways MessagePack.
#[derive(Debug)]
pub struct Packed<T, U>(PhantomData<(T, U)>);

/// MessagePack to the one side, raw chunks to the other: chunks in, a message back.
#[derive(Debug)]
pub struct RawIn<T, U>(PhantomData<(T, U)>);

/// A message in, raw chunks back.
#[derive(Debug)]
pub struct RawOut<T, U>(PhantomData<(T, U)>);

macro_rules! codec {
    ($name:ident, $coder:ident) => {
        impl<T, U> Default for $name<T, U> {
            fn default() -> Self {
                $name(PhantomData)
            }
        }

        impl<T, U> Codec for $name<T, U>
        where
            T: Send + 'static,
            U: Send + 'static,
            $coder<T>: Encoder<Item = T, Error = Status> + Send + 'static,
            $coder<U>: Decoder<Item = U, Error = Status> + Send + 'static,
        {
            type Encode = T;
            type Decode = U;
            type Encoder = $coder<T>;
            type Decoder = $coder<U>;

            fn encoder(&mut self) -> Self::Encoder {
                $coder(PhantomData)
            }

            fn decoder(&mut self) -> Self::Decoder {
                $coder(PhantomData)
            }
        }
    };
}

// The server's codec encodes what the client's decodes, so each raw method needs both directions of its codec.
codec!(Packed, Pack);
codec!(RawIn, Any);
codec!(RawOut, Any);

/// MessagePack, either way.
#[derive(Debug)]
pub struct Pack<T>(PhantomData<T>);

impl<T: Serialize> Encoder for Pack<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        pack(&item, out)
    }
}

impl<T: DeserializeOwned> Decoder for Pack<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        unpack(from).map(Some)
    }
}

/// Whatever the type asks for: chunks raw, all else MessagePack.
#[derive(Debug)]
pub struct Any<T>(PhantomData<T>);

/// How a type of a raw method travels.
pub trait Wire: Sized + Send + 'static {
    /// Appends it.
    ///
    /// # Errors
    /// If it cannot be encoded.
    fn write(self, out: &mut EncodeBuf<'_>) -> Result<(), Status>;

    /// Takes it off.
    ///
    /// # Errors
    /// If the bytes are none.
    fn read(from: &mut DecodeBuf<'_>) -> Result<Self, Status>;
}

impl Wire for Message {
    fn write(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(self.wire_bytes());
        self.encode(out);
        Ok(())
    }

    fn read(from: &mut DecodeBuf<'_>) -> Result<Message, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        Message::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

/// Marks messages that raw methods send as MessagePack.
pub(crate) trait Packable: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Packable> Wire for T {
    fn write(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        pack(&self, out)
    }

    fn read(from: &mut DecodeBuf<'_>) -> Result<T, Status> {
        unpack(from)
    }
}

impl<T: Wire> Encoder for Any<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.write(out)
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }
}

impl<T: Wire> Decoder for Any<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        T::read(from).map(Some)
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }
}

fn pack(item: &impl Serialize, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
    let mut writer = out.writer();
    rmp_serde::encode::write_named(&mut writer, item)
        .map_err(|error| Status::internal(format!("could not encode a message: {error}")))
}

fn unpack<T: DeserializeOwned>(from: &mut DecodeBuf<'_>) -> Result<T, Status> {
    let bytes = from.copy_to_bytes(from.remaining());
    whole(&bytes).map_err(|error| Status::invalid_argument(format!("not a message of this service: {error}")))
}

/// A value of MessagePack that fills all of `bytes`. Lengths within it can reserve no more than `bytes` has.
///
/// # Errors
/// If it is none, or bytes are left over.
pub fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadValue> {
    whole_within(bytes, DEPTH)
}

/// As `whole`, with lists and maps within each other to another depth.
///
/// # Errors
/// As `whole`.
pub fn whole_within<T: DeserializeOwned>(bytes: &[u8], depth: usize) -> Result<T, BadValue> {
    let mut rest = rmp_serde::Deserializer::new(bytes);
    rest.set_max_depth(depth);
    let value = T::deserialize(&mut rest)?;
    let left = rest.get_ref().len();
    if left == 0 { Ok(value) } else { Err(BadValue::LeftOver { left }) }
}

/// Bytes that are not one value.
#[derive(Debug, thiserror::Error)]
pub enum BadValue {
    #[error(transparent)]
    Malformed(#[from] rmp_serde::decode::Error),
    #[error("{left} bytes follow the message")]
    LeftOver { left: usize },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunId;
    use crate::agent::{PutHeader, Stored};

    #[test]
    fn a_value_is_whole_and_nothing_follows_it() {
        let stored = Stored { frames: vec![1, 2], bytes: 7 };
        let mut bytes = rmp_serde::to_vec_named(&stored).unwrap();
        assert_eq!(whole::<Stored>(&bytes).unwrap(), stored);
        assert!(whole::<Stored>(&bytes[..bytes.len() - 1]).is_err());
        bytes.push(0);
        assert!(whole::<Stored>(&bytes).unwrap_err().to_string().contains("1 bytes follow"));
    }

    #[test]
    fn a_length_that_lies_reserves_nothing() {
        // An array of 2^32 - 1 numbers, of which none comes.
        assert!(whole::<Vec<u64>>(&[0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(whole::<serde_bytes::ByteBuf>(&[0xc6, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn a_message_that_is_too_deep_takes_no_stack() {
        let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
        assert!(whole::<serde::de::IgnoredAny>(&nested(DEPTH / 2)).is_ok());
        assert!(whole::<serde::de::IgnoredAny>(&nested(100_000)).is_err());
    }

    #[test]
    fn ids_are_checked_where_they_enter() {
        #[derive(Serialize)]
        struct Loose {
            run: &'static str,
        }
        for run in ["", "../etc", "A", "-a", "a/b"] {
            assert!(whole::<PutHeader>(&rmp_serde::to_vec_named(&Loose { run }).unwrap()).is_err(), "{run}");
            assert!(RunId::try_from(run.to_owned()).is_err(), "{run}");
        }
    }
}
