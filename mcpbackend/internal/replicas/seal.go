package replicas

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Keys come from the secret of the replicas, one for each purpose.
type Keys struct{ secret []byte }

// NewKeys takes the secret that the replicas share.
func NewKeys(secret []byte) Keys { return Keys{secret} }

// Name is a keyed hash of the parts: equal for equal ones, and of use to nobody
// who lacks the secret.
func (k Keys) Name(purpose string, parts ...string) string {
	mac := hmac.New(sha256.New, k.key("name "+purpose))
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// Seal encrypts and authenticates text for a purpose at a place, such as a key
// in Redis: elsewhere it opens as little as with another secret. Every place has
// a key of its own, so that random nonces do for as many messages as a place can
// see (NIST SP 800-38D §8.3).
func (k Keys) Seal(purpose, place string, text []byte) []byte {
	return k.aead(purpose, place).Seal(nil, nil, text, nil)
}

// Open gives back what was sealed.
func (k Keys) Open(purpose, place string, sealed []byte) ([]byte, error) {
	text, err := k.aead(purpose, place).Open(nil, nil, sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: not sealed with the secret of this replica", purpose)
	}
	return text, nil
}

func (k Keys) aead(purpose, place string) cipher.AEAD {
	block, err := aes.NewCipher(k.key("seal " + purpose + "\x00" + place))
	if err != nil {
		panic(err) // the key has the right size
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the right size of block
	}
	return aead
}

func (k Keys) key(info string) []byte {
	key, err := hkdf.Key(sha256.New, k.secret, nil, "neonpanel mcpbackend "+info, 32)
	if err != nil {
		panic(err) // 32 bytes are not too many
	}
	return key
}
