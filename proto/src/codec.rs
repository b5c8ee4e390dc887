//! tonic codecs: MessagePack for messages, raw chunks for batches.

use std::marker::PhantomData;

use bytes::Buf;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::chunk::{MESSAGE_BYTES, Message};

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
    ($name:ident, $encoder:ident, $decoder:ident, [$($bounds:tt)*]) => {
        impl<T, U> Default for $name<T, U> {
            fn default() -> Self {
                $name(PhantomData)
            }
        }

        impl<T, U> Codec for $name<T, U>
        where
            T: Send + 'static,
            U: Send + 'static,
            $encoder<T>: Encoder<Item = T, Error = Status> + Send + 'static,
            $decoder<U>: Decoder<Item = U, Error = Status> + Send + 'static,
        {
            type Encode = T;
            type Decode = U;
            type Encoder = $encoder<T>;
            type Decoder = $decoder<U>;

            fn encoder(&mut self) -> Self::Encoder {
                $encoder(PhantomData)
            }

            fn decoder(&mut self) -> Self::Decoder {
                $decoder(PhantomData)
            }
        }
    };
}

// The server's codec encodes what the client's decodes, so each raw method needs both directions of its codec.
codec!(Packed, Pack, Pack, []);
codec!(RawIn, Any, Any, []);
codec!(RawOut, Any, Any, []);

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
        BufferSettings::new(MESSAGE_BYTES, 2 * MESSAGE_BYTES)
    }
}

impl<T: Wire> Decoder for Any<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        T::read(from).map(Some)
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(MESSAGE_BYTES, 2 * MESSAGE_BYTES)
    }
}

fn pack(item: &impl Serialize, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
    let mut writer = bytes::BufMut::writer(out);
    rmp_serde::encode::write_named(&mut writer, item)
        .map_err(|error| Status::internal(format!("could not encode a message: {error}")))
}

fn unpack<T: DeserializeOwned>(from: &mut DecodeBuf<'_>) -> Result<T, Status> {
    rmp_serde::from_read(from.reader())
        .map_err(|error| Status::invalid_argument(format!("not a message of this service: {error}")))
}
