//! The signature that answers the broker's challenge: the secret key never travels.
//!
//! Spec: spec/wire.md, "Authenticate".

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// What is signed begins with this, so that a signature is of no use for anything else.
const CONTEXT: &[u8] = b"sampan-auth-1";

/// The signature of `secret_id` for one connection, whose nonce came with the hello reply.
pub fn sign(secret_key: &[u8], nonce: &[u8; 32], secret_id: &str) -> [u8; 32] {
    keyed(secret_key, nonce, secret_id)
        .finalize()
        .into_bytes()
        .into()
}

/// Whether `signature` is right, in a time that does not depend on where it differs.
pub fn verify_signature(
    secret_key: &[u8],
    nonce: &[u8; 32],
    secret_id: &str,
    signature: &[u8; 32],
) -> bool {
    keyed(secret_key, nonce, secret_id)
        .verify_slice(signature)
        .is_ok()
}

fn keyed(secret_key: &[u8], nonce: &[u8; 32], secret_id: &str) -> Hmac<Sha256> {
    let mac = <Hmac<Sha256> as Mac>::new_from_slice(secret_key);
    mac.expect("HMAC takes keys of any length")
        .chain_update(CONTEXT)
        .chain_update(nonce)
        .chain_update(secret_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_its_own_key_nonce_and_id_only() {
        let signature = sign(b"key", &[7; 32], "AKID1");
        assert!(verify_signature(b"key", &[7; 32], "AKID1", &signature));
        assert!(!verify_signature(b"kez", &[7; 32], "AKID1", &signature));
        assert!(!verify_signature(b"key", &[8; 32], "AKID1", &signature));
        assert!(!verify_signature(b"key", &[7; 32], "AKID2", &signature));
        for index in 0..32 {
            let mut wrong = signature;
            wrong[index] ^= 1;
            assert!(!verify_signature(b"key", &[7; 32], "AKID1", &wrong));
        }
    }
}
