package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"math/big"
	"slices"

	// The hashes of the algorithms below.
	_ "crypto/sha256"
	_ "crypto/sha512"
)

// ErrSignature means that the key did not make the signature.
var ErrSignature = errors.New("signature does not verify")

// algorithm is one row of RFC 7518 §3.1 or RFC 8037 §3.1.
type algorithm struct {
	hash   crypto.Hash
	fits   func(crypto.PublicKey) bool
	verify func(a algorithm, key crypto.PublicKey, signed, signature []byte) bool
	curve  elliptic.Curve
}

// algorithms is the closed list. `none` (RFC 7518 §3.6) and HMAC (§3.2), with
// which a public key would become a shared secret, cannot be enabled.
var algorithms = map[string]algorithm{
	"RS256": {hash: crypto.SHA256, fits: isRSA, verify: verifyPKCS1},
	"RS384": {hash: crypto.SHA384, fits: isRSA, verify: verifyPKCS1},
	"RS512": {hash: crypto.SHA512, fits: isRSA, verify: verifyPKCS1},
	"PS256": {hash: crypto.SHA256, fits: isRSA, verify: verifyPSS},
	"PS384": {hash: crypto.SHA384, fits: isRSA, verify: verifyPSS},
	"PS512": {hash: crypto.SHA512, fits: isRSA, verify: verifyPSS},
	"ES256": {hash: crypto.SHA256, fits: isOn(elliptic.P256()), verify: verifyECDSA, curve: elliptic.P256()},
	"ES384": {hash: crypto.SHA384, fits: isOn(elliptic.P384()), verify: verifyECDSA, curve: elliptic.P384()},
	"ES512": {hash: crypto.SHA512, fits: isOn(elliptic.P521()), verify: verifyECDSA, curve: elliptic.P521()},
	"EdDSA": {fits: isEd25519, verify: verifyEdDSA},
}

// Algorithms lists what Verify can verify.
func Algorithms() []string {
	names := make([]string, 0, len(algorithms))
	for name := range algorithms {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Fits reports whether a key is of the type that an algorithm needs
// (RFC 7518 §3.1): without this check an attacker chooses how a key is used.
func Fits(algorithm string, key crypto.PublicKey) bool {
	a, known := algorithms[algorithm]
	return known && a.fits(key)
}

// Verify verifies the signature with one key.
func (t Token) Verify(key crypto.PublicKey) error {
	a, known := algorithms[t.Algorithm]
	if !known || !a.fits(key) || !a.verify(a, key, t.signed, t.signature) {
		return ErrSignature
	}
	return nil
}

func isRSA(key crypto.PublicKey) bool {
	_, is := key.(*rsa.PublicKey)
	return is
}

func isOn(curve elliptic.Curve) func(crypto.PublicKey) bool {
	return func(key crypto.PublicKey) bool {
		k, is := key.(*ecdsa.PublicKey)
		return is && k.Curve == curve
	}
}

func isEd25519(key crypto.PublicKey) bool {
	k, is := key.(ed25519.PublicKey)
	return is && len(k) == ed25519.PublicKeySize
}

func digest(h crypto.Hash, signed []byte) []byte {
	hash := h.New()
	hash.Write(signed)
	return hash.Sum(nil)
}

// verifyPKCS1 is RFC 7518 §3.3.
func verifyPKCS1(a algorithm, key crypto.PublicKey, signed, signature []byte) bool {
	return rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), a.hash, digest(a.hash, signed), signature) == nil
}

// verifyPSS is RFC 7518 §3.5: the salt is as long as the hash.
func verifyPSS(a algorithm, key crypto.PublicKey, signed, signature []byte) bool {
	options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	return rsa.VerifyPSS(key.(*rsa.PublicKey), a.hash, digest(a.hash, signed), signature, options) == nil
}

// verifyECDSA is RFC 7518 §3.4: R and S, each as long as the curve's order.
// Zero is outside their range and refused by ecdsa.Verify.
func verifyECDSA(a algorithm, key crypto.PublicKey, signed, signature []byte) bool {
	size := (a.curve.Params().BitSize + 7) / 8
	if len(signature) != 2*size {
		return false
	}
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	return ecdsa.Verify(key.(*ecdsa.PublicKey), digest(a.hash, signed), r, s)
}

// verifyEdDSA is RFC 8037 §3.1 with Ed25519.
func verifyEdDSA(_ algorithm, key crypto.PublicKey, signed, signature []byte) bool {
	return len(signature) == ed25519.SignatureSize && ed25519.Verify(key.(ed25519.PublicKey), signed, signature)
}
