// Configures next/image: the deployment of Glimpse scales the posters, not Next's own server.

export default {
  images: { loader: "custom", loaderFile: "./glimpse-loader.js" },
};
