// OpenAI's own client for Go.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

const prompt = "a big red circle top left on white"

type outcome struct {
	Case  string `json:"case"`
	Error string `json:"error,omitempty"`
}

func report(name string, run func() error) {
	said := outcome{Case: name}
	if err := run(); err != nil {
		said.Error = fmt.Sprintf("%.400s", err)
	}
	line, _ := json.Marshal(said)
	fmt.Println(string(line))
}

func checkImage(image []byte) error {
	if !bytes.HasPrefix(image, []byte("\x89PNG")) {
		return errors.New("no PNG")
	}
	return nil
}

func draw(ctx context.Context, client openai.Client, params openai.ImageGenerateParams) (openai.Image, error) {
	params.Prompt = prompt
	answer, err := client.Images.Generate(ctx, params)
	if err != nil {
		return openai.Image{}, err
	}
	return answer.Data[0], nil
}

func main() {
	ctx := context.Background()
	client := openai.NewClient(option.WithBaseURL(os.Getenv("HADIS_CLIENT_URL")), option.WithAPIKey("none"))

	report("generate", func() error {
		image, err := draw(ctx, client, openai.ImageGenerateParams{Model: openai.ImageModelGPTImage1})
		if err != nil {
			return err
		}
		png, err := base64.StdEncoding.DecodeString(image.B64JSON)
		if err != nil {
			return err
		}
		return checkImage(png)
	})
	report("size", func() error {
		_, err := draw(ctx, client, openai.ImageGenerateParams{
			Model:   openai.ImageModelDallE3,
			Size:    openai.ImageGenerateParamsSize1024x1024,
			Quality: openai.ImageGenerateParamsQualityStandard,
			Style:   openai.ImageGenerateParamsStyleVivid,
		})
		return err
	})
	report("url", func() error {
		image, err := draw(ctx, client, openai.ImageGenerateParams{
			Model:          openai.ImageModelDallE3,
			ResponseFormat: openai.ImageGenerateParamsResponseFormatURL,
		})
		if err != nil {
			return err
		}
		answer, err := http.Get(image.URL)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		png, err := io.ReadAll(answer.Body)
		if err != nil {
			return err
		}
		return checkImage(png)
	})
	report("stream", func() error {
		events := client.Images.GenerateStreaming(ctx, openai.ImageGenerateParams{
			Prompt: prompt,
			Model:  openai.ImageModelGPTImage1,
		})
		last := ""
		for events.Next() {
			last = events.Current().Type
		}
		if events.Err() != nil {
			return events.Err()
		}
		if last != "image_generation.completed" {
			return fmt.Errorf("the last event is %q", last)
		}
		return nil
	})
	report("edit", func() error {
		image, err := draw(ctx, client, openai.ImageGenerateParams{Model: openai.ImageModelGPTImage1})
		if err != nil {
			return err
		}
		png, err := base64.StdEncoding.DecodeString(image.B64JSON)
		if err != nil {
			return err
		}
		picture := openai.File(bytes.NewReader(png), "picture.png", "image/png")
		_, err = client.Images.Edit(ctx, openai.ImageEditParams{
			Image:  openai.ImageEditParamsImageUnion{OfFile: picture},
			Prompt: "a blue square",
			Model:  openai.ImageModelGPTImage1,
		})
		return err
	})
	report("refusal", func() error {
		_, err := draw(ctx, client, openai.ImageGenerateParams{Model: "no-such-model"})
		var refused *openai.Error
		if errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound {
			return nil
		}
		return fmt.Errorf("a model that is not there: %v", err)
	})
}
