// OpenAI's own client for Go.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

import "github.com/openai/openai-go/v3"        // docs
import "github.com/openai/openai-go/v3/option" // docs

func draw(ctx context.Context, client openai.Client, params openai.ImageGenerateParams) (openai.Image, error) {
	params.Prompt = prompt
	answer, err := client.Images.Generate(ctx, params)
	if err != nil {
		return openai.Image{}, err
	}
	return answer.Data[0], nil
}

func picture(ctx context.Context, client openai.Client) (io.Reader, error) {
	image, err := draw(ctx, client, openai.ImageGenerateParams{Model: openai.ImageModelGPTImage1})
	if err != nil {
		return nil, err
	}
	png, err := decoded(image.B64JSON)
	if err != nil {
		return nil, err
	}
	return openai.File(bytes.NewReader(png), "picture.png", "image/png"), nil
}

func fetch(url string) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	png, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	return checkImage(png)
}

func main() {
	ctx := context.Background()
	client := openai.NewClient(option.WithBaseURL(BASE_URL), option.WithAPIKey(API_KEY)) // docs

	report("generate", "", func() error {
		_, err := picture(ctx, client)
		return err
	})
	report("several", "", func() error {
		answer, err := client.Images.Generate(ctx, openai.ImageGenerateParams{
			Prompt: prompt,
			Model:  openai.ImageModelGPTImage1,
			N:      openai.Int(2),
		})
		if err != nil {
			return err
		}
		if len(answer.Data) != 2 {
			return fmt.Errorf("%d images", len(answer.Data))
		}
		return nil
	})
	report("size", "", func() error {
		_, err := draw(ctx, client, openai.ImageGenerateParams{
			Model:   openai.ImageModelDallE3,
			Size:    openai.ImageGenerateParamsSize1024x1024,
			Quality: openai.ImageGenerateParamsQualityStandard,
			Style:   openai.ImageGenerateParamsStyleVivid,
		})
		return err
	})
	report("url", "net/http", func() error {
		image, err := draw(ctx, client, openai.ImageGenerateParams{
			Model:          openai.ImageModelDallE3,
			ResponseFormat: openai.ImageGenerateParamsResponseFormatURL,
		})
		if err != nil {
			return err
		}
		return fetch(image.URL)
	})
	report("stream", "", func() error {
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
	report("edit", "", func() error {
		file, err := picture(ctx, client)
		if err != nil {
			return err
		}
		_, err = client.Images.Edit(ctx, openai.ImageEditParams{
			Image:  openai.ImageEditParamsImageUnion{OfFile: file},
			Prompt: change,
			Model:  openai.ImageModelGPTImage1,
		})
		return err
	})
	report("variation", "", func() error {
		file, err := picture(ctx, client)
		if err != nil {
			return err
		}
		_, err = client.Images.NewVariation(ctx, openai.ImageNewVariationParams{Image: file})
		return err
	})
	report("refusal", "", func() error {
		_, err := draw(ctx, client, openai.ImageGenerateParams{Model: "no-such-model"})
		var refused *openai.Error
		if errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound {
			return nil
		}
		return fmt.Errorf("a model that is not there: %v", err)
	})
	report("models", "", func() error {
		if _, err := client.Models.List(ctx); err != nil {
			return err
		}
		_, err := client.Models.Get(ctx, openai.ImageModelGPTImage1)
		return err
	})
}
