//go:build chromium

package chromium

import (
	"bytes"
	"cmp"
	"context"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"slices"

	"github.com/chromedp/chromedp"
)

// picture writes what the tab shows, or with whole all of the page.
func picture(ctx context.Context, path string, whole bool) error {
	action := chromedp.CaptureScreenshot()
	if whole {
		action = chromedp.FullScreenshot(100)
	}
	data, err := chromedp.Run(ctx, action)
	if err != nil {
		return err
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return err
	}
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, fewColors(img)); err != nil {
		return err
	}
	return os.WriteFile(path, small.Bytes(), 0o644)
}

// fewColors paints a picture with 256 of its colors, for a third of the bytes:
// the most frequent ones, and those that are farthest from all others.
func fewColors(img image.Image) *image.Paletted {
	bounds := img.Bounds()
	count := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(img.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	often := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range often[:min(len(often), 176)] {
		palette = append(palette, c)
	}
	gap := make([]int, len(often))
	for i, c := range often {
		gap[i] = distance(c, palette[palette.Index(c)].(color.RGBA))
	}
	for len(palette) < 256 {
		farthest := 0
		for i := range gap {
			if gap[i] > gap[farthest] {
				farthest = i
			}
		}
		if gap[farthest] == 0 {
			break
		}
		palette = append(palette, often[farthest])
		for i, c := range often {
			gap[i] = min(gap[i], distance(c, often[farthest]))
		}
	}
	nearest := make(map[color.RGBA]uint8, len(often))
	for _, c := range often {
		nearest[c] = uint8(palette.Index(c))
	}
	few := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			few.SetColorIndex(x, y, nearest[at(x, y)])
		}
	}
	return few
}

// distance is the square of the distance between two colors.
func distance(a, b color.RGBA) int {
	square := func(x, y uint8) int { return (int(x) - int(y)) * (int(x) - int(y)) }
	return square(a.R, b.R) + square(a.G, b.G) + square(a.B, b.B)
}
