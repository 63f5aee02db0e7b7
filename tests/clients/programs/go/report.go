package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

var BASE_URL = os.Getenv("HADIS_CLIENT_URL")

const (
	API_KEY = "none"
	prompt  = "a big red circle top left on white"
	change  = "a blue square"
)

type outcome struct {
	Case  string `json:"case"`
	By    string `json:"by,omitempty"`
	Error string `json:"error,omitempty"`
}

// report runs a case and prints what became of it, as the programs in other languages do; by is by what it is done.
func report(name, by string, run func() error) {
	said := outcome{Case: name, By: by}
	if err := run(); err != nil {
		said.Error = fmt.Sprintf("%.400s", err)
	}
	line, _ := json.Marshal(said)
	fmt.Println(string(line))
}

// decoded returns an image in base64; an error where it is no PNG.
func decoded(encoded string) ([]byte, error) {
	image, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	return image, checkImage(image)
}

func checkImage(image []byte) error {
	if !bytes.HasPrefix(image, []byte("\x89PNG")) {
		return errors.New("no PNG")
	}
	return nil
}
