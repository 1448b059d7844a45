//! Encryption of a push message for one browser (RFC 8291, in the content coding `aes128gcm` of RFC 8188).

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::error::Unspecified;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use crate::model::PushSubscription;

/// The size of a record: larger than any message, so that there is one (RFC 8188, section 2.1).
const RECORD_BYTES: u32 = 4096;
/// Messages are padded to this size, so that all of them are of one size.
const PADDED_BYTES: usize = 64;
/// The delimiter of the last record (RFC 8188, section 2).
const LAST_RECORD: u8 = 2;

/// The body of the request: the header of RFC 8188, section 2.1, and one record. Errors: the key of the browser is not a
/// point of the curve.
pub(super) fn message(to: &PushSubscription, text: &[u8], random: &SystemRandom) -> Result<Vec<u8>, Unspecified> {
    let private = EphemeralPrivateKey::generate(&ECDH_P256, random)?;
    let public = private.compute_public_key()?;
    let mut salt = [0; 16];
    random.fill(&mut salt)?;
    let padding = PADDED_BYTES.saturating_sub(text.len());
    agree_ephemeral(private, &UnparsedPublicKey::new(&ECDH_P256, &to.key), |shared| {
        sealed(to, shared, public.as_ref(), salt, text, padding)
    })?
}

/// The body, of all values that are random otherwise.
fn sealed(
    to: &PushSubscription,
    shared: &[u8],
    public: &[u8],
    salt: [u8; 16],
    text: &[u8],
    padding: usize,
) -> Result<Vec<u8>, Unspecified> {
    // RFC 8291, section 3.4.
    let extracted = Salt::new(HKDF_SHA256, &to.auth).extract(shared);
    let input: [u8; 32] = expanded(&extracted, &[b"WebPush: info\0", to.key.as_slice(), public])?;
    // RFC 8188, sections 2.2 and 2.3.
    let extracted = Salt::new(HKDF_SHA256, &salt).extract(&input);
    let key: [u8; 16] = expanded(&extracted, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce: [u8; 12] = expanded(&extracted, &[b"Content-Encoding: nonce\0"])?;

    let mut record = Vec::with_capacity(text.len() + 1 + padding + AES_128_GCM.tag_len());
    record.extend_from_slice(text);
    record.push(LAST_RECORD);
    record.resize(record.len() + padding, 0);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record)?;

    let key_length = u8::try_from(public.len()).map_err(|_| Unspecified)?;
    Ok([salt.as_slice(), &RECORD_BYTES.to_be_bytes(), &[key_length], public, &record].concat())
}

/// A number of bytes, as ring wants it.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expanded<const LENGTH: usize>(key: &Prk, info: &[&[u8]]) -> Result<[u8; LENGTH], Unspecified> {
    let mut out = [0; LENGTH];
    key.expand(info, Length(LENGTH))?.fill(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    #[test]
    fn the_example_of_the_specification_is_reproduced() {
        // RFC 8291, section 5 and appendix A.
        let to = PushSubscription::parse(
            "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "BTBZMqHH6r4Tts7J_aSIgg",
        )
        .unwrap();
        let shared = bytes("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs");
        let public = bytes("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8");
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let text = b"When I grow up, I want to be a watermelon";
        let body = sealed(&to, &shared, &public, salt, text, 0).unwrap();
        assert_eq!(
            URL_SAFE_NO_PAD.encode(body),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
    }

    #[test]
    fn all_messages_have_one_size_and_none_repeats() {
        let random = SystemRandom::new();
        let private = EphemeralPrivateKey::generate(&ECDH_P256, &random).unwrap();
        let key = private.compute_public_key().unwrap().as_ref().try_into().unwrap();
        let to = PushSubscription { endpoint: String::new(), key, auth: [1; 16] };
        let [one, other] = ["message", "toy"].map(|word| message(&to, word.as_bytes(), &random).unwrap());
        assert_eq!(one.len(), other.len());
        assert_ne!(one[..16], other[..16]);
        let wrong = PushSubscription { key: [4; 65], ..to };
        assert!(message(&wrong, b"message", &random).is_err(), "no point of the curve");
    }
}
