// Package account holds the people who can sign in to the sandbox.
package account

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"
)

// Account is one NeonPanel user.
type Account struct {
	// Subject is the stable user id: the `sub` of every token. NeonPanel uses
	// its numeric user id, written as a string.
	Subject  string
	Email    string
	Name     string
	Password string
}

// All lists the accounts in a fixed order.
func All() []Account {
	return []Account{
		{Subject: "46", Email: "seller-one@example.com", Name: "Seller One", Password: "demo"},
		{Subject: "47", Email: "seller-two@example.com", Name: "Seller Two", Password: "demo"},
	}
}

// ByEmail finds an account by its address, in any case.
func ByEmail(email string) (Account, bool) {
	for _, a := range All() {
		if strings.EqualFold(a.Email, strings.TrimSpace(email)) {
			return a, true
		}
	}
	return Account{}, false
}

// BySubject finds an account by its user id.
func BySubject(subject string) (Account, bool) {
	for _, a := range All() {
		if a.Subject == subject {
			return a, true
		}
	}
	return Account{}, false
}

// Authenticate returns the account that this address and password belong to.
// An unknown address and a wrong password cannot be told apart.
func Authenticate(email, password string) (Account, bool) {
	a, known := ByEmail(email)
	want, got := sha256.Sum256([]byte(a.Password)), sha256.Sum256([]byte(password))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 || !known {
		return Account{}, false
	}
	return a, true
}
