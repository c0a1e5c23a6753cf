// Reads create bodies with Go's mime/multipart, part by part and as a whole form. The format of
// input and output is that of oracle.py.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"os"
)

const file = "<file>"

type pair struct{ name, value string }

type fields struct {
	Model   *string `json:"model"`
	Seconds *string `json:"seconds"`
	Size    *string `json:"size"`
}

func (f *fields) place(name string) **string {
	switch name {
	case "model":
		return &f.Model
	case "seconds":
		return &f.Seconds
	case "size":
		return &f.Size
	}
	return nil
}

// pieces hands out no more at a time than a socket might have.
type pieces struct {
	body io.Reader
	step int
}

func (p pieces) Read(to []byte) (int, error) {
	if p.step > 0 && len(to) > p.step {
		to = to[:p.step]
	}
	return p.body.Read(to)
}

func (p pieces) Close() error { return nil }

func request(contentType string, body []byte, step int) *http.Request {
	return &http.Request{
		Method:        "POST",
		Header:        http.Header{"Content-Type": {contentType}},
		Body:          pieces{bytes.NewReader(body), step},
		ContentLength: int64(len(body)),
	}
}

func partByPart(request *http.Request) (pairs []pair, err error) {
	reader, err := request.MultipartReader()
	if err != nil {
		return nil, err
	}
	for {
		part, err := reader.NextPart()
		if err == io.EOF {
			return pairs, nil
		}
		if err != nil {
			return nil, err
		}
		if part.FileName() != "" {
			// Not read to its end: the reader has to find the next part.
			pairs = append(pairs, pair{part.FormName(), file})
			continue
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair{part.FormName(), string(value)})
	}
}

func wholeForm(request *http.Request) (pairs []pair, err error) {
	if err := request.ParseMultipartForm(32 << 20); err != nil {
		return nil, err
	}
	for name, values := range request.MultipartForm.Value {
		for _, value := range values {
			pairs = append(pairs, pair{name, value})
		}
	}
	for name := range request.MultipartForm.File {
		pairs = append(pairs, pair{name, file})
	}
	return pairs, request.MultipartForm.RemoveAll()
}

func answer(pairs []pair, err error) any {
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	var first, last fields
	for i := range pairs {
		if place := first.place(pairs[i].name); place != nil {
			if *place == nil {
				*place = &pairs[i].value
			}
			*last.place(pairs[i].name) = &pairs[i].value
		}
	}
	return map[string]fields{"first": first, "last": last}
}

func main() {
	in, out := bufio.NewReaderSize(os.Stdin, 1<<20), bufio.NewWriter(os.Stdout)
	defer out.Flush()
	number := func() (uint32, error) {
		var bytes [4]byte
		_, err := io.ReadFull(in, bytes[:])
		return binary.BigEndian.Uint32(bytes[:]), err
	}
	take := func() []byte {
		length, err := number()
		taken := make([]byte, length)
		if _, more := io.ReadFull(in, taken); err != nil || more != nil {
			panic("a record is cut off")
		}
		return taken
	}
	encoder := json.NewEncoder(out)
	for {
		step, err := number()
		if err != nil {
			return
		}
		contentType, body := string(take()), take()
		answers := map[string]any{}
		if !bytes.Contains([]byte(contentType), []byte("json")) {
			answers["go, part by part"] = answer(partByPart(request(contentType, body, int(step))))
			answers["go, whole form"] = answer(wholeForm(request(contentType, body, int(step))))
		}
		if err := encoder.Encode(answers); err != nil {
			panic(err)
		}
	}
}
